"""Starting, recognising and ending the lab's processes, and no others."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.paths import MARKER

_AGAIN = "Run it again; `neutron-cni lab down` and then `up` start from nothing."
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 120.0,
    pass_fds: Iterable[int] = (),
) -> str:
    """Run `command` to its end and return its stdout; `LabError` with its stderr when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env={"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/root", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd="/",
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed", "Run scripts/setup first.") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` took more than {timeout:g} s", _AGAIN) from error
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(words)}` failed with status {done.returncode}: {said}", _AGAIN)
    return done.stdout


def daemon(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    pass_fds: Iterable[int] = (),
) -> None:
    """Start `command` in a session of its own, as nobody's child, its output in `log`.

    ``setsid --fork`` makes it an orphan at once: a test run that started a lab neither has to reap
    its daemons nor takes them along when it ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        subprocess.run(
            ["setsid", "--fork", *map(str, command)],
            env={"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/root", **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            check=True,
            pass_fds=tuple(pass_fds),
        )


def wait_until(
    ready: Callable[[], bool],
    what: str,
    seconds: float,
    hint: str = "",
    processes: Callable[[], Collection[int]] | None = None,
) -> None:
    """Poll `ready` until it is true; `LabError` naming `what` after `seconds`.

    At once when `processes`, those that are to make it true, finds none any more.
    """
    give_up = time.monotonic() + seconds
    look = time.monotonic() + 1  # not each time: it reads all of /proc
    while not ready():
        if processes and time.monotonic() > look:
            look += 1
            if not processes() and not ready():
                raise LabError(f"{what} ended while it was starting", hint)
        if time.monotonic() > give_up:
            raise LabError(f"waited {seconds:g} s for {what}", hint)
        time.sleep(0.05)


def read_pid(pid_file: Path) -> int | None:
    """The process id in `pid_file`, or None."""
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return None


def is_ours(pid: int, folder: Path) -> bool:
    """Whether process `pid` lives (is no zombie) and carries the marker of the lab in `folder`."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False
    return state not in "ZX" and f"{MARKER}={folder}".encode() in environ


def live_pid(pid_file: Path, folder: Path) -> int | None:
    """The id in `pid_file` if that process is alive and of the lab in `folder`, else None."""
    pid = read_pid(pid_file)
    return pid if pid is not None and is_ours(pid, folder) else None


def all_of(folder: Path, namespaces: Iterable[int] = (), within: Path | None = None) -> set[int]:
    """Every live process of the lab in `folder`, with its descendants, this one excepted.

    That is: those with its marker, those in one of `namespaces` (inodes of network namespaces) and
    those that see a node's file system, since a command in a node may have cleared its environment.
    With `within` (a node's folder) the marker is not enough: only the processes of that node.
    """
    inodes = set(namespaces)
    mounted = f"upperdir={within or folder / 'nodes'}/".encode()
    found, parents = set(), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        parents[pid] = parent(pid)
        marked = within is None and is_ours(pid, folder)
        if marked or _net_inode(pid) in inodes or mounted in _read(f"/proc/{pid}/mountinfo"):
            found.add(pid)
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {os.getpid()}


def running(folder: Path, command: str) -> set[int]:
    """The processes of the lab in `folder` whose command line contains `command`.

    They may have been started by a call that was killed before it saw them running.
    """
    ours = all_of(folder)
    return {pid for pid in ours if command.encode() in _read(f"/proc/{pid}/cmdline")}


def marked(folder: Path, setting: str) -> set[int]:
    """The live processes of the lab in `folder` that were started with `setting` (NAME=VALUE)."""
    wanted = setting.encode()
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {
        pid
        for pid in pids
        if wanted in _read(f"/proc/{pid}/environ").split(b"\0") and is_ours(pid, folder)
    }


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def parent(pid: int) -> int | None:
    """The process that process `pid` is a child of."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def executable(pid: int) -> Path | None:
    """The program that process `pid` runs, whatever it calls itself."""
    try:
        return Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return None


def _net_inode(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def end(pids: Iterable[int], patience: float = 3.0) -> None:
    """TERM, wait up to `patience` seconds, KILL, wait until all of `pids` are gone."""
    left = {pid: _start_time(pid) for pid in pids}
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        left = {pid: began for pid, began in left.items() if _alive(pid, began)}
        for pid in left:
            _signal(pid, number)
        give_up = time.monotonic() + seconds
        while left and time.monotonic() < give_up:
            time.sleep(0.02)
            left = {pid: began for pid, began in left.items() if _alive(pid, began)}
    if left:
        raise LabError(f"processes {sorted(left)} do not end, even by KILL")


def _start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: with the id it names a process for good, ids are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(pid: int, began: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    if len(fields) <= 19 or fields[19] != began:
        return False
    # Threads may outlive the first one, which is a zombie then, and keep the sockets open.
    return fields[0] not in "ZX" or _thread_count(pid) > 1


def _thread_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - no Path for each is needed
    except OSError:
        return 0


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

"""The lab's network namespaces, by iproute2: named, and all starting with the lab's prefix."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from neutron_cni_lab.facts import locked
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import run

_NAMED = Path("/run/netns")


def clean_up(places: Places) -> None:
    """Take back what the machine's first ``ip netns add`` did, if it was ours.

    It makes /run/netns and mounts it on itself (ip-netns(8)). Stays while there are namespaces.
    """
    with _one_at_a_time(places):
        if not _note(places).exists() or (_NAMED.is_dir() and any(_NAMED.iterdir())):
            return
        if _is_mounted():
            run(["umount", _NAMED])
            _NAMED.rmdir()
        _note(places).unlink()


def listed(places: Places) -> list[str]:
    """The names of this lab's namespaces that exist, even if only as a left-over file."""
    if not _NAMED.is_dir():
        return []
    return sorted(p.name for p in _NAMED.iterdir() if p.name.startswith(places.namespace_prefix))


def inode(name: str) -> int | None:
    """The inode that identifies namespace `name`, or None when there is no such namespace."""
    try:
        found = (_NAMED / name).stat()
    except OSError:
        return None
    # After a crash between making the file and mounting the namespace on it, or after a reboot,
    # the file is a plain one: its device is the one of the folder.
    return None if found.st_dev == _NAMED.stat().st_dev else found.st_ino


def holds(name: str, pid: int) -> bool:
    """Whether process `pid` is in what now is namespace `name`, and not in one before it."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == inode(name)
    except OSError:
        return False


def ensure(places: Places, name: str) -> None:
    """Make namespace `name`, with its loopback up, unless it is there."""
    if inode(name) is None:
        with _one_at_a_time(places):
            if not _is_mounted():
                _note(places).touch()
            (_NAMED / name).unlink(missing_ok=True)
            run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def remove(name: str) -> None:
    """Remove namespace `name`; its devices go with it once no process holds it."""
    if inode(name) is None:
        (_NAMED / name).unlink(missing_ok=True)
    else:
        run(["ip", "netns", "del", name])


def ip(name: str, *words: str, check: bool = True) -> str:
    """Run ``ip`` with `words` in namespace `name`."""
    return run(["ip", "-n", name, *words], check=check)


def inside(name: str, command: Sequence[str | Path]) -> list[str | Path]:
    """`command` as it has to be run to be in namespace `name`, nothing else of it changed."""
    return ["nsenter", f"--net={_NAMED / name}", *command]


def _one_at_a_time(places: Places) -> AbstractContextManager[None]:
    """/run/netns is the machine's: no lab may take it back while another moves in."""
    return locked(places.home / "run-netns.lock")


def _note(places: Places) -> Path:
    return places.home / "run-netns-is-ours"


def _is_mounted() -> bool:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(_NAMED) for line in lines)


def has_link(name: str, link: str) -> bool:
    """Whether namespace `name` has a device called `link`."""
    return bool(ip(name, "-o", "link", "show", "dev", link, check=False))

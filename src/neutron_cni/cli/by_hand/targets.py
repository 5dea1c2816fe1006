"""What an operator names to be attached: a container, a process, or a network namespace.

A namespace is passed to the plugins by a path that means the same to every process and for as long
as it can: a name where one is mounted, else /proc/PID/ns/net. The second may mean another namespace
once the process has ended and its pid is used again; so the target is held open (`Held`), and its
path is looked at before and after each plugin.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from neutron_cni.cli.by_hand import engine_api, task_files
from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.netlink.namespace import Identity, Namespace, own_identity
from neutron_cni.netlink.namespaces import NAMED
from neutron_cni.values.attachment import BY_HAND, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

_PID, _NETNS = "pid", "netns"
KINDS = (_PID, _NETNS, "docker", "podman", "containerd", "CRI-O")
"""What a word may begin with, before a colon, to be taken for that only."""
ASK_SECONDS = 10.0
"""The most seconds that the runtimes are asked for."""
_MOST_LINKS = 40
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A network namespace to attach. `container_id` is the one that plugins are told.

    `what`: in words. `path`: of the namespace. `pid`: of a process that the path depends on, or 0.
    """

    what: str
    container_id: str
    path: str
    identity: Identity
    pid: int = 0
    pod: PodRef = field(default_factory=PodRef)


Finders = tuple[Callable[[str, Deadline], Iterable[Container]], ...]


def _engine(runtime: str) -> Callable[[str, Deadline], Iterable[Container]]:
    def find(word: str, deadline: Deadline) -> Iterable[Container]:
        found = engine_api.find(runtime, engine_api.SOCKETS[runtime], word, deadline)
        return () if found is None else (found,)

    return find


FINDERS: Finders = (
    *(_engine(runtime) for runtime in engine_api.SOCKETS),
    lambda word, _: task_files.find(word),
)


def resolve(word: str, finders: Finders = FINDERS) -> Target:
    """What `word` means. Raises CniError INVALID_ENVIRONMENT if nothing, several things, what does
    not run, or what has the node's own network."""
    kind, colon, rest = word.partition(":")
    kind, name = (kind, rest) if colon and kind in KINDS else ("", word)
    if not name or not name.isprintable():
        raise _wrong(f"{word!r} names nothing", "name a container, a pid or a namespace")
    if kind == _PID:
        return _process(_pid(name), f"process {name}")
    if kind == _NETNS or (not kind and name.startswith(("/", "./", "../"))):
        return _namespace(name)
    named = [_namespace(name)] if not kind and _is_named(name) else []
    if not kind and name.isdecimal() and Path("/proc", name).exists():
        named.append(_process(_pid(name), f"process {name}"))
    return _one_of(name, named, _containers(name, kind, finders, needed=not named))


def _one_of(name: str, *found: list[Target]) -> Target:
    targets = {item.identity: item for items in reversed(found) for item in reversed(items)}
    if len(targets) > 1:
        listed = "; ".join(f"{item.what} ({item.path})" for item in targets.values())
        raise _wrong(f"{name} may mean each of: {listed}", "name it by its whole id or its path")
    if not targets:
        raise _wrong(
            f"there is no running container, process or namespace {name!r:.80}",
            "see docker ps, podman ps, crictl ps or ip netns; /proc/PID/ns/net always does",
        )
    return next(iter(targets.values()))


def _containers(name: str, kind: str, finders: Finders, needed: bool) -> list[Target]:
    """The containers called so, that run. What keeps some from being found, or from having a
    network, is an error only if one is `needed` and there is no other."""
    deadline = Deadline.after(ASK_SECONDS)
    found: list[Container] = []
    trouble: list[CniError] = []
    for find in finders:
        try:
            found += [item for item in find(name, deadline) if kind in ("", item.runtime)]
        except CniError as error:
            trouble.append(error)
    running = [item for item in found if item.pid]
    if not needed:
        return [_container(item) for item in running if _has_own_network(item)]
    if trouble and not running:
        raise trouble[0]
    if found and not running:
        raise _wrong(f"{found[0]} does not run", "start it: only then it has a network namespace")
    return [_container(item) for item in running]


def _container(item: Container) -> Target:
    made = _process(item.pid, str(item))
    return Target(
        made.what, f"{BY_HAND}{item.network_id}", made.path, made.identity, made.pid, item.pod
    )


def _is_named(name: str) -> bool:
    """Whether a namespace is called so, as `ip netns` knows it."""
    return "/" not in name and (NAMED[0] / name).exists()


def _namespace(given: str) -> Target:
    """The namespace at a path, or of a name."""
    path = Path(given) if "/" in given else NAMED[0] / given
    where = _followed(path)
    if where.parts[1:2] == ("proc",):
        return _below_proc(given, where.parts)
    digest = sha256(str(where).encode()).hexdigest()[:8]
    label = _UNFIT.sub("-", where.name)[:40]
    with Namespace.open(str(path)) as meant, Namespace.open(str(where)) as opened:
        if meant.identity != opened.identity:
            # The root of a process can be another one, and its link says "/" all the same.
            raise _wrong(f"{given} leads through the files of a process", "name its pid: pid:PID")
        _refuse_own(opened.identity, f"the namespace {given}")
        return Target(
            f"the namespace {where}", f"{BY_HAND}{label}-{digest}", str(where), opened.identity
        )


def _followed(path: Path) -> Path:
    """Where the path's links lead; below /proc, where the last of them is a namespace, no further.

    A link in /run/netns to /proc/PID/ns/net, as people make them, is as good as the pid.
    """
    for _ in range(_MOST_LINKS):
        path = path.absolute()
        if path.parts[1:2] == ("proc",):
            break
        path = Path(os.path.realpath(path.parent), path.name)
        if path.parts[1:2] == ("proc",) or not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path


def _below_proc(given: str, parts: tuple[str, ...]) -> Target:
    """The namespace of a process, by /proc/PID/ns/net."""
    # What /proc/self leads to is another thing for each process; in a plugin it is the plugin's.
    if parts[2:3] in (("self",), ("thread-self",), (str(os.getpid()),)):
        raise _wrong(f"{given} is something else for each process", "name a pid or another path")
    if parts[3:] != ("ns", "net") or not parts[2].isdecimal():
        raise _wrong(
            f"{given} lasts no longer than a process", "name that one: pid:PID, or /proc/PID/ns/net"
        )
    return _process(int(parts[2]), f"process {parts[2]}")


def _process(pid: int, what: str) -> Target:
    """The namespace of a process, by a name if it has one."""
    own = f"/proc/{pid}/ns/net"
    started = _started(pid)
    if not Path("/proc", str(pid)).exists() or not started:
        raise _wrong(f"{what} does not run (pid {pid})", "see ps")
    with Namespace.open(own) as opened:
        _refuse_own(opened.identity, what)
        identity = opened.identity
    path = _mounted_name(identity)
    container = f"{BY_HAND}pid-{pid}-{started}"
    return Target(what, container, path or own, identity, 0 if path else pid)


def _mounted_name(identity: Identity) -> str:
    """The path of a name of the namespace, empty if it has none."""
    for folder in NAMED:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                status = path.lstat()  # A link would last no longer than what it leads to.
            except OSError:
                continue
            if (status.st_dev, status.st_ino) == identity:
                return str(path)
    return ""


def _started(pid: int) -> str:
    """When the process began, in ticks since the boot; with the pid it names just this process."""
    try:
        text = Path("/proc", str(pid), "stat").read_text(errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _pid(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise _wrong(f"{text!r:.40} is no pid", "such as pid:1234")
    return int(text)


def _has_own_network(item: Container) -> bool:
    try:
        with Namespace.open(f"/proc/{item.pid}/ns/net") as opened:
            return opened.identity != own_identity()
    except CniError:
        return False


def _refuse_own(identity: Identity, what: str) -> None:
    if identity == own_identity():
        raise _wrong(
            f"{what} has the node's own network",
            "it needs a namespace of its own: for a container any network but host",
        )


def _wrong(message: str, details: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, message, f"{details}; nothing was changed")


class Held:
    """A target, held open: its namespace lives at least as long, and it is known whether the path
    still leads there."""

    def __init__(self, target: Target) -> None:
        """Open it. Raises CniError INVALID_ENVIRONMENT if it is gone, or another one by now."""
        self.target = target
        with ExitStack() as stack:
            self._process = -1
            if target.pid:
                self._process = _open_process(target)
                stack.callback(os.close, self._process)
            self.namespace = stack.enter_context(Namespace.open(target.path))
            self.require_same()
            self._stack = stack.pop_all()

    @property
    def is_same(self) -> bool:
        """Whether the path leads to the namespace, and did all the time.

        The number of a process that has not ended is no other's.
        """
        if self._process >= 0:
            poller = select.poll()
            poller.register(self._process, select.POLLIN)
            if poller.poll(0):
                return False
        try:
            with Namespace.open(self.target.path) as now:
                return now.identity == self.target.identity
        except CniError:
            return False

    def require_same(self) -> None:
        """Raise CniError UNKNOWN_CONTAINER where `is_same` is not so."""
        if not self.is_same:
            raise CniError(
                Code.UNKNOWN_CONTAINER,
                f"{self.target.what} ended meanwhile",
                "nothing of it is attached; name one that runs",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _open_process(target: Target) -> int:
    try:
        return os.pidfd_open(target.pid)
    except OSError as error:
        raise _wrong(f"{target.what} ended meanwhile ({error.strerror})", "see ps") from error

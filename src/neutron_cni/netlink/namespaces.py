"""Which network namespaces there are on this machine: by name, by process, and by mount.

A runtime may have removed the name and left the container, or keep its names in a mount namespace
of its own. None of the functions raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from neutron_cni.netlink.namespace import Namespace
from neutron_cni.values.errors import CniError

NAMED = (Path("/run/netns"), Path("/run/docker/netns"))
"""Where runtimes and `ip netns` keep the files of network namespaces."""


def occupied() -> frozenset[int]:
    """Inodes of the network namespaces that a process is in."""
    return frozenset(inode(f"{process}/ns/net") for process in _processes())


def network_of_first_process() -> int:
    """The inode of process 1's network namespace, 0 where it can't be read."""
    return inode("/proc/1/ns/net")


def mount_namespaces() -> dict[int, Path]:
    """Inodes of the mount namespaces of processes in our network namespace, and one of each.

    Runtimes have the node's network. Who has another one, such as another node that is played on
    this machine, keeps nothing there that would be this node's.
    """
    found: dict[int, Path] = {}
    ours = own_inode()
    for process in _processes():
        if inode(f"{process}/ns/net") == ours:
            found.setdefault(inode(f"{process}/ns/mnt"), process)
    return {number: process for number, process in found.items() if number}


def others() -> Iterator[Namespace]:
    """Each network namespace but the calling thread's, once; open until the next is asked for."""
    seen = {own_inode()}
    for path in paths():
        number = inode(path)
        if number in seen:
            continue
        try:
            namespace = Namespace.open(path)
        except CniError:
            # Its process has just ended; another may lead into the same namespace.
            continue
        seen.add(number)
        with namespace:
            yield namespace


def own_inode() -> int:
    """The inode of the calling thread's network namespace."""
    return inode("/proc/thread-self/ns/net")


def paths() -> Iterator[str]:
    """Paths that lead to network namespaces; several may lead to one."""
    for folder in NAMED:
        if folder.is_dir():
            yield from (str(path) for path in sorted(folder.iterdir()))
    yield from (f"{process}/ns/net" for process in _processes())
    for process in mount_namespaces().values():
        yield from (f"{process}/root{point}" for point in _mounted(process))


def _mounted(process: Path) -> Iterator[str]:
    """Where the mounts of a process have network namespaces (proc(5), /proc/PID/mountinfo)."""
    try:
        lines = (process / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, _, root, point, *_ = line.split(" ")
        if root.startswith("net:["):
            yield re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def inode(path: str) -> int:
    """The inode of a file, 0 where there is none."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0

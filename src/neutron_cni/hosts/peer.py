"""Who is at the other end of a socket: only one of ours on the same node may do our calls or have
its own done.

Imports nothing that takes long: a plugin that hands its call over has to start fast.
"""

import _socket
import os
from struct import unpack

_SAME = ("root", "cwd", "ns/mnt", "ns/net", "ns/pid", "ns/user")
"""What of /proc/PID has to be the same for two processes to mean the same by a path, and by the
node's own network; and what tells a container's processes from the node's."""


def of(connection: _socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end, as the kernel noted them (unix(7))."""
    noted = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    pid, uid, _ = unpack("3i", noted)
    return pid, uid


def is_like_us(connection: _socket.socket) -> bool:
    """Whether the other end is a process of the same user on the same node."""
    pid, uid = of(connection)
    if uid != os.geteuid():
        return False
    try:
        return all(_same_file(f"/proc/{pid}/{what}", f"/proc/self/{what}") for what in _SAME)
    except OSError:
        return False


def _same_file(one: str, other: str) -> bool:
    a, b = os.stat(one), os.stat(other)  # noqa: PTH116 - pathlib takes 9 ms to import
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

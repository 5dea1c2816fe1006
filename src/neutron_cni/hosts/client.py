"""Hands an ADD or a DEL over to another plugin process that is at work already.

Importing what a call needs takes 50 ms. Fifty pods that start at once (a burst) would pay that
fifty times, on the processors that the process which talks to Neutron needs as well. So the first
process of a burst listens on a socket while it works (`server`), and the others hand their calls
over to it: 10 ms each. If that fails in any way, a process runs its call itself, which is safe
because CNI calls may be repeated.

The socket is in a folder that only root can write to, and that no configuration names: a process
that listens there can give any answer, and is sent the environment with its passwords, while a part
of the configuration is the pod's own (annotations). Besides, each side looks who the other is
(`peer`). The listening process holds a lock, which the kernel frees when the process dies, however
it dies; the next process then takes its place.
"""

import _socket  # The module `socket` around it takes 4 ms to import.
import fcntl
import os
from binascii import crc32

from neutron_cni import __version__, files
from neutron_cni.hosts import peer, wire

SECONDS = {"ADD": 65.0, "DEL": 15.0}
"""The commands that are handed over, and how many seconds a process waits for the answer before it
runs the call itself. A call that takes over 60 s says so itself by then (`timeout`), and a DEL asks
no cloud: whoever takes longer is stopped, or stuck."""

FOLDER = "/var/lib/neutron-cni"
"""Where the socket is: the usual state folder. Where it does not exist, no call is handed over."""

_PLACE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - see `launcher`
_NAME = f"burst-{__version__}-{crc32(_PLACE.encode()):08x}"
"""File name of the socket. It stands for this version in this folder, as another installation of
neutron-cni may give other answers."""


class Post:
    """A socket on which this process is to serve others, and the lock that goes with it."""

    def __init__(self, listener: _socket.socket, lock: int) -> None:
        self.listener = listener
        self.lock = lock


def hand_over(plugin: str, stdin: bytes) -> wire.Answer | Post | None:
    """Hand the call over; returns the answer: status, standard output, standard error.

    If no process takes the call: the post to take, or None if this process can't.
    """
    seconds = SECONDS.get(os.environ.get("CNI_COMMAND", ""))
    if seconds is None or not _means_the_same_everywhere(os.environ.get("CNI_NETNS", "")):
        return None
    folder = _private_folder(FOLDER)
    if folder is None:
        return None
    # Through the descriptor: the folder that was checked, wherever its path leads by now.
    place = f"/proc/self/fd/{folder}/{_NAME}"
    try:
        post = _listen(place)
        if post is not None:
            return post
        connection = _connect(place, seconds)
        return None if connection is None else _ask(connection, plugin, stdin)
    finally:
        os.close(folder)


def _private_folder(path: str) -> int | None:
    """A descriptor of the folder; None if it does not exist, or other users may write to it."""
    try:
        files.require_private_folder(path)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None


def _means_the_same_everywhere(path: str) -> bool:
    """Whether `path` leads to the same for every process, as the paths that runtimes give do.

    So does none, which DEL has after its namespace is gone.
    """
    own = ("/proc/self/", "/proc/thread-self/")
    return not path or (path.startswith("/") and not path.startswith(own))


def _new() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def _listen(place: str) -> Post | None:
    """A socket that listens at `place`, if this process gets the lock of `place`; else None."""
    lock = listener = None
    try:
        lock = files.open_own(f"{place}.lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _NAME in os.listdir(os.path.dirname(place)):  # noqa: PTH120, PTH208 - see `launcher`
            os.unlink(place)  # noqa: PTH108 - a process that is no more left it
        listener = _new()
        listener.bind(place)
        listener.listen(256)
    except OSError:
        if listener is not None:
            listener.close()
        if lock is not None:
            os.close(lock)
        return None
    return Post(listener, lock)


def _connect(place: str, seconds: float) -> _socket.socket | None:
    connection = _new()
    connection.settimeout(seconds)
    try:
        connection.connect(place)
        if peer.is_like_us(connection):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _ask(connection: _socket.socket, plugin: str, stdin: bytes) -> wire.Answer | None:
    try:
        connection.sendall(wire.call_to_bytes((plugin, os.environ, stdin)))
        connection.shutdown(_socket.SHUT_WR)
        received = []
        while data := connection.recv(65536):
            received.append(data)
    except OSError:
        return None
    finally:
        connection.close()
    return wire.answer_from_bytes(b"".join(received))

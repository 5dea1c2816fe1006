"""Hands a call over to another plugin process that is at work already.

Importing what a call needs takes 50 ms. Fifty pods that start at once (a burst) would pay that
fifty times, on the processors that the process which talks to Neutron needs as well. So the first
process of a burst listens on a socket while it works (`server`), and the others hand their calls
over to it: 10 ms each. If that fails in any way, a process runs its call itself, which is safe
because CNI calls may be repeated.

The socket is in the state folder, which only its owner (root) can enter: a process that listens
there can give any answer, and is sent the environment with its passwords. The listening process
holds a lock, which the kernel frees when the process dies, however it dies; the next process then
takes its place.
"""

import _socket  # The module `socket` around it takes 4 ms to import.
import fcntl
import os
import stat
from binascii import crc32

from neutron_cni import __version__
from neutron_cni.cni.versions import quoted_value
from neutron_cni.hosts import wire

SECONDS = 90.0
"""Seconds that a process waits for the other's answer before it runs the call itself."""

STATE_FOLDER = "/var/lib/neutron-cni"
"""The folder of the socket unless the configuration names another `stateDir`."""

_PLACE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - see `launcher`
_NAME = f"burst-{__version__}-{crc32(_PLACE.encode()):08x}"
"""File name of the socket. It stands for this version in this folder, as another installation of
neutron-cni may give other answers."""


def standard_input() -> bytes | None:
    """All of standard input, but at most one byte more than INPUT_LIMIT; None if unreadable."""
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(wire.INPUT_LIMIT + 1)
    except OSError:
        return None


def hand_over(plugin: str, stdin: bytes) -> wire.Answer | _socket.socket | None:
    """Hand the call over; returns the answer: status, standard output, standard error.

    If no process takes the call: a listening socket on which this process is to serve others,
    or None if it can't.
    """
    if not _means_the_same_everywhere(os.environ.get("CNI_NETNS", "")):
        return None
    folder = _private_folder(quoted_value(stdin, b'"stateDir"') or STATE_FOLDER)
    if folder is None:
        return None
    # Through the descriptor: the folder that was checked, wherever its path leads by now.
    place = f"/proc/self/fd/{folder}/{_NAME}"
    try:
        listener = _listen(place)
        if listener is not None:
            return listener
        connection = _connect(place)
        return None if connection is None else _ask(connection, plugin, stdin)
    finally:
        os.close(folder)


def _private_folder(path: str) -> int | None:
    """A descriptor of the folder; None if it does not exist, or other users may write to it."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    found = os.fstat(folder)
    if found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o022:
        return folder
    os.close(folder)
    return None


def _means_the_same_everywhere(path: str) -> bool:
    """Whether `path` leads to the same for every process, as the paths that runtimes give do."""
    return path.startswith("/") and not path.startswith(("/proc/self/", "/proc/thread-self/"))


def _new() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def _listen(place: str) -> _socket.socket | None:
    """A listening socket at `place` if this process gets the lock of `place`, else None."""
    listener = None
    try:
        # Never closed: this process holds the lock until it ends.
        lock = os.open(f"{place}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        if _NAME in os.listdir(os.path.dirname(place)):  # noqa: PTH120, PTH208 - see `launcher`
            os.unlink(place)  # noqa: PTH108 - a killed process left it
        listener = _new()
        listener.bind(place)
        listener.listen(256)
    except OSError:
        if listener is not None:
            listener.close()
        return None
    return listener


def _connect(place: str) -> _socket.socket | None:
    connection = _new()
    connection.settimeout(SECONDS)
    try:
        connection.connect(place)
    except OSError:
        connection.close()
        return None
    return connection


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

"""Hands a call over to another process of ours that is at the same work.

What a call needs takes 50 ms to import, and fifty pods that start at once would pay for it fifty
times, on the processors that the one which talks to Neutron needs as well. So the first one of a
burst listens while it works (`server`), and the others ask it: 10 ms each. Whatever goes wrong with
that, they do the work themselves, as a repeated call is fine.

They meet at a socket in the state folder, which only its owner (root) can enter: whoever answers
there could give an answer of its own, and is sent the environment with its passwords. The kernel
frees the lock of the one that listens when it dies, however it dies, and the next one takes its
place.
"""

import _socket  # `socket`, around it, takes 4 ms to import
import fcntl
import os
import stat
from binascii import crc32

from neutron_cni import __version__
from neutron_cni.cni.versions import quoted_value
from neutron_cni.hosts import wire

SECONDS = 90.0
"""How long one waits for the other's answer before doing the work itself."""

STATE_FOLDER = "/var/lib/neutron-cni"
"""Where they meet unless the configuration names another `stateDir`."""

_PLACE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - see `launcher`
_NAME = f"burst-{__version__}-{crc32(_PLACE.encode()):08x}"
"""Of this version in this place: another one may give other answers."""


def standard_input() -> bytes | None:
    """All of it, and a little more than we take of what is too long; None if it can't be read."""
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(wire.INPUT_LIMIT + 1)
    except OSError:
        return None


def hand_over(plugin: str, stdin: bytes) -> wire.Answer | _socket.socket | None:
    """The answer (status, standard output, standard error) of a process that takes the call.

    If none does: a socket on which this one shall listen for others, or None.
    """
    if not _means_the_same_everywhere(os.environ.get("CNI_NETNS", "")):
        return None
    folder = _private_folder(quoted_value(stdin, b'"stateDir"') or STATE_FOLDER)
    if folder is None:
        return None
    # The folder that was looked at, whatever its path leads to by now.
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
    """The folder, held open; None where there is none yet, or others could put a socket."""
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
    """Whether another process finds the same there: the paths that runtimes give."""
    return path.startswith("/") and not path.startswith(("/proc/self/", "/proc/thread-self/"))


def _new() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def _listen(place: str) -> _socket.socket | None:
    """A socket at `place`, for whoever gets its lock, which goes with the process."""
    listener = None
    try:
        # Never closed: the lock is held until the process ends.
        lock = os.open(f"{place}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        if _NAME in os.listdir(os.path.dirname(place)):  # noqa: PTH120, PTH208 - see `launcher`
            os.unlink(place)  # noqa: PTH108 - one that was killed left it
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

"""Hands a call over to another process of ours that is at the same work.

What a call needs takes 50 ms to import, and fifty pods that start at once would pay for it fifty
times, on the processors that the one which talks to Neutron needs as well. So the first one of a
burst listens while it works (`group`), and the others ask it: 10 ms each. Whatever goes wrong with
that, they do the work themselves, as a repeated call is fine.

The address is an abstract one: it goes with its process, however that ends, and every network
namespace has its own. It has no mode, so both sides look who the other is. The messages end with
the sender's half of the connection:

    call    PLUGIN NUL NAME=VALUE NUL ... NUL NUL STDIN
    answer  STATUS BYTES-OF-STDOUT BYTES-OF-BOTH NEWLINE STDOUT STDERR
"""

import _socket  # `socket`, around it, takes 4 ms to import
import os
from binascii import crc32
from struct import unpack

from neutron_cni import __version__

INPUT_LIMIT = 16 << 20
"""Bytes of configuration; one with the prevResult of a long chain has a few thousand."""
SECONDS = 90.0
"""How long one waits for the other's answer before doing the work itself."""

_PLACE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - see `launcher`
ADDRESS = f"\0neutron-cni {__version__} {crc32(_PLACE.encode()):08x}".encode()
"""Of this version in this place: another one may give other answers."""


def standard_input() -> bytes | None:
    """All of it, and a little more than we take of what is too long; None if it can't be read."""
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(INPUT_LIMIT + 1)
    except OSError:
        return None


def hand_over(plugin: str, stdin: bytes) -> tuple[int, bytes, bytes] | _socket.socket | None:
    """The answer (status, standard output, standard error) of a process that takes the call.

    If none does: a socket on which this one shall listen for others, or None.
    """
    if not _means_the_same_everywhere(os.environ.get("CNI_NETNS", "")):
        return None
    for _ in range(2):
        connection = _connect()
        if connection is not None:
            return _ask(connection, plugin, stdin)
        listener = _listen()
        if listener is not None:
            return listener
    return None


def _means_the_same_everywhere(path: str) -> bool:
    """Whether another process finds the same there: the paths that runtimes give."""
    return path.startswith("/") and not path.startswith(("/proc/self/", "/proc/thread-self/"))


def peer_of(connection: _socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end, as the kernel noted them (unix(7))."""
    pid, uid, _ = unpack("3i", connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return pid, uid


def _new() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def _connect() -> _socket.socket | None:
    connection = _new()
    connection.settimeout(SECONDS)
    try:
        connection.connect(ADDRESS)
        if peer_of(connection)[1] == os.geteuid():
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _listen() -> _socket.socket | None:
    listener = _new()
    try:
        listener.bind(ADDRESS)
        listener.listen(256)
    except OSError:
        listener.close()
        return None
    return listener


def _ask(connection: _socket.socket, plugin: str, stdin: bytes) -> tuple[int, bytes, bytes] | None:
    variables = [os.fsencode(f"{name}={value}") for name, value in os.environ.items()]
    try:
        connection.sendall(b"\0".join([os.fsencode(plugin), *variables, b"", stdin]))
        connection.shutdown(_socket.SHUT_WR)
        received = []
        while data := connection.recv(65536):
            received.append(data)
    except OSError:
        return None
    finally:
        connection.close()
    head, newline, rest = b"".join(received).partition(b"\n")
    if not newline:
        return None
    status, length, total = map(int, head.split())
    return (status, rest[:length], rest[length:]) if len(rest) == total else None

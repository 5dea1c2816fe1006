"""The frames in which a host and its VM tell each other of a command, over TCP.

A frame is its kind, the number of a stream (0, 1, 2) and the payload's length, then the payload. No
more than `WINDOW` bytes of each direction are under way: so nobody ever waits in `sendall` for one
who does not read, and signals pass at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import socket
import struct
import threading

PORT = 1
WINDOW = 1 << 17
PIECE = 1 << 16
NEW_NETWORK = 0x40000000
"""CLONE_NEWNET, of setns(2) and unshare(2)."""

_HEAD = struct.Struct("!BBI")
_BUFFER = 1 << 19  # for the window and the kernel's books about many short frames


class Kind(enum.IntEnum):
    """What a frame says."""

    RUN = 1
    """JSON: ``argv``, ``env``, ``cwd``."""
    DATA = 2
    CLOSED = 3
    """By who wrote to the stream: it has ended. By who read: it wants no more."""
    TAKEN = 4
    """That many bytes have left the window (4 bytes)."""
    SIGNAL = 5
    """Its number (4 bytes)."""
    STATUS = 6
    """As in `subprocess.Popen.returncode` (4 bytes)."""


Frame = tuple[Kind, int, bytes]


class Gone(Exception):
    """The other end is not there any more."""


class Connection:
    """Sends and receives frames; any thread may send."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()
        self._one = threading.Lock()
        connected.setblocking(True)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, kind: Kind, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame; `Gone` if nobody gets it."""
        try:
            with self._one:
                self._socket.sendall(_HEAD.pack(kind, stream, len(payload)) + payload)
        except OSError as error:
            raise Gone from error

    def send_number(self, kind: Kind, number: int, stream: int = 0) -> None:
        """Send a frame whose payload is `number`."""
        self.send(kind, stream, struct.pack("!i", number))

    def receive(self) -> list[Frame]:
        """Wait for more, then all whole frames that are there; `Gone` when there will be none."""
        try:
            more = self._socket.recv(PIECE)
        except OSError as error:
            raise Gone from error
        if not more:
            raise Gone
        self._received += more
        frames = []
        while len(self._received) >= _HEAD.size:
            kind, stream, length = _HEAD.unpack_from(self._received)
            end = _HEAD.size + length
            if len(self._received) < end:
                break
            frames.append((Kind(kind), stream, bytes(self._received[_HEAD.size : end])))
            del self._received[:end]
        return frames

    def finish(self) -> None:
        """Nothing more is to come from here: wait until the other end has got it, and hangs up.

        Closed at once, with something of the other end not read yet, it would be a reset, and what
        the other end has not read yet be lost.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(PIECE):
                pass

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def number_in(payload: bytes) -> int:
    """The number that `Connection.send_number` sent."""
    (number,) = struct.unpack("!i", payload)
    return int(number)


def system_call(name: str, *words: int) -> None:
    """What Python 3.11 has no function for; OSError when it fails."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*words):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

"""The first process of a burst runs the others' calls, too, while it runs its own (see `client`).

When its own call is done it accepts no more, waits a moment for the calls under way, and exits. A
process that has no answer by then runs its call itself, just as if the server had been killed.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from neutron_cni.hosts import client, peer, streams, wire

LINGER_SECONDS = 1.0
"""The most seconds that the pod of this process waits for others' calls to end."""
MOST = 128
"""The most calls of others at a time; each has a thread."""
_SECONDS = max(client.SECONDS.values())
_FILES_OF_A_CALL = 8
_OTHER_FILES = 32

_OWN_AFFAIRS = ("_", "PWD", "OLDPWD", "SHLVL")
"""Variables that may differ between two processes, as they do not change how a call is run."""

Run = Callable[[str, Mapping[str, str], bytes], wire.Answer]


class Server:
    """Runs the calls of other plugin processes in threads, until `close`."""

    def __init__(self, post: client.Post, run: Run) -> None:
        self._listener = socket.socket(fileno=post.listener.detach())
        self._lock = post.lock
        self._run = run
        self._changed = threading.Condition()
        self._under_way = 0
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(MOST, (soft - _OTHER_FILES) // _FILES_OF_A_CALL)
        threading.Thread(target=self._accept, name="burst", daemon=True).start()

    def close(self) -> None:
        """Accept no more calls, and wait up to LINGER_SECONDS for those under way."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.close(self._lock)  # The next process may take the post while this one lingers.
        give_up = time.monotonic() + LINGER_SECONDS
        with self._changed:
            while self._under_way and time.monotonic() < give_up:
                self._changed.wait(give_up - time.monotonic())

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        with self._changed:
            if self._under_way >= self._most:
                connection.close()
                return
            self._under_way += 1
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # no more threads
            connection.close()
            self._done()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                connection.settimeout(_SECONDS)
                call = _read(connection) if peer.is_like_us(connection) else None
                if call is not None:
                    connection.sendall(wire.answer_to_bytes(self._run(*call)))
        finally:
            self._done()

    def _done(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()


def _read(connection: socket.socket) -> wire.Call | None:
    """The call that was sent; None if it is not whole, or its environment differs from ours.

    CNI_* and _OWN_AFFAIRS may differ.
    """
    received = bytearray()
    while data := connection.recv(65536):
        received += data
        if len(received) > 2 * streams.INPUT_LIMIT:
            return None
    call = wire.call_from_bytes(bytes(received))
    same = call is not None and _affairs(call[1]) == _affairs(os.environ)
    return call if same else None


def _affairs(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that decide how a call is run: credentials, proxies, paths."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("CNI_") and name not in _OWN_AFFAIRS
    }

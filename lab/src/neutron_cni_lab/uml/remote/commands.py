"""In the VM: runs commands for the host, a connection for each."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable
from typing import Any, NoReturn

from frames import (
    NEW_NETWORK,
    PIECE,
    PORT,
    WINDOW,
    Connection,
    Frame,
    Gone,
    Kind,
    number_in,
    system_call,
)

_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends to a command and all that it has started."""


class Command:
    """A command in the VM, and what is under way between it and its host."""

    def __init__(self, connection: Connection, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        self._connection = connection
        self._child = child
        self._stdin = child.stdin
        os.set_blocking(child.stdin.fileno(), False)
        self._outputs = {1: child.stdout, 2: child.stderr}
        self._input = bytearray()
        self._input_ended = False
        self._room = WINDOW
        self._status: int | None = None
        self._told = False
        self._selector = selectors.DefaultSelector()
        self._ended = os.pidfd_open(child.pid)

    def serve(self, early: Iterable[Frame]) -> None:
        """Until the command has ended and nobody writes to its outputs; `early` came with it.

        A command whose stand-in on the host has gone was killed there, and is killed here.
        """
        select_from = self._selector
        select_from.register(self._connection, selectors.EVENT_READ, self._receive)
        select_from.register(self._ended, selectors.EVENT_READ, self._reap)
        for stream, pipe in self._outputs.items():
            select_from.register(pipe, selectors.EVENT_READ, lambda s=stream: self._read(s))
        try:
            self._obey(early)
            while not (self._told and not self._outputs):
                waits = self._status is None or self._told
                ready = select_from.select(None if waits else 0)
                for key, _ in ready:
                    key.data()
                if self._status is not None and not self._told and not self._has_output(ready):
                    self._connection.send_number(Kind.STATUS, self._status)
                    self._told = True
        except Gone:
            if self._status is None:
                self._child.kill()
                self._child.wait()
        finally:
            os.close(self._ended)
            select_from.close()
            for pipe in (self._stdin, *self._outputs.values()):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _has_output(self, ready: list[Any]) -> bool:
        """Whether there is something that its host can be sent before the status."""
        pipes = set(self._outputs.values())
        return any(key.fileobj in pipes for key, _ in ready)

    def _reap(self) -> None:
        self._selector.unregister(self._ended)
        self._status = self._child.wait()

    def _receive(self) -> None:
        self._obey(self._connection.receive())

    def _obey(self, frames: Iterable[Frame]) -> None:
        for kind, stream, payload in frames:
            if kind is Kind.DATA:
                self._input += payload
                self._watch_stdin()
            elif kind is Kind.CLOSED and stream == 0:
                self._input_ended = True
                self._watch_stdin()
            elif kind is Kind.CLOSED and stream in self._outputs:
                self._forget_output(stream)
            elif kind is Kind.TAKEN:
                self._room += number_in(payload)
                self._watch_outputs()
            elif kind is Kind.SIGNAL:
                self._signal(number_in(payload))

    def _signal(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number in _KEYBOARD else os.kill)(self._child.pid, number)

    def _read(self, stream: int) -> None:
        pipe = self._outputs.get(stream)
        if pipe is None or self._room <= 0:
            return
        data = os.read(pipe.fileno(), min(PIECE, self._room))
        if not data:
            self._forget_output(stream)
            self._connection.send(Kind.CLOSED, stream)
            return
        self._room -= len(data)
        if self._room <= 0:
            for other in self._outputs.values():
                self._selector.unregister(other)
        self._connection.send(Kind.DATA, stream, data)

    def _watch_outputs(self) -> None:
        for stream, pipe in self._outputs.items():
            if pipe not in self._selector.get_map():
                self._selector.register(pipe, selectors.EVENT_READ, lambda s=stream: self._read(s))

    def _forget_output(self, stream: int) -> None:
        pipe = self._outputs.pop(stream)
        with contextlib.suppress(KeyError):
            self._selector.unregister(pipe)
        pipe.close()

    def _watch_stdin(self) -> None:
        if self._stdin.closed:
            self._drop_input()
        elif self._stdin not in self._selector.get_map():
            self._selector.register(self._stdin, selectors.EVENT_WRITE, self._write)

    def _write(self) -> None:
        if self._input:
            try:
                written = os.write(self._stdin.fileno(), self._input[:PIECE])
            except BlockingIOError:
                return
            except OSError:
                self._close_stdin()
                self._drop_input()
                self._connection.send(Kind.CLOSED, 0)
                return
            del self._input[:written]
            self._connection.send_number(Kind.TAKEN, written)
        if not self._input:
            self._selector.unregister(self._stdin)
            if self._input_ended:
                self._stdin.close()

    def _close_stdin(self) -> None:
        self._selector.unregister(self._stdin)
        self._stdin.close()

    def _drop_input(self) -> None:
        if self._input:
            self._connection.send_number(Kind.TAKEN, len(self._input))
            self._input.clear()


def serve(nic: str, address: str) -> NoReturn:
    """Listen at `address` on device `nic`, both in a network namespace of which nobody knows."""
    accept(_listen(nic, address))


def accept(server: socket.socket) -> NoReturn:
    """Serve whoever connects, each with a thread of its own."""
    while True:
        connected, _ = server.accept()
        threading.Thread(target=_serve_one, args=(Connection(connected),), daemon=True).start()


def _listen(nic: str, address: str) -> socket.socket:
    """The node's own devices, routes and packet filters are not in the way of this socket."""
    pid = str(os.getpid())
    with open("/proc/self/ns/net") as node:
        system_call("unshare", NEW_NETWORK)
        inside = ["nsenter", f"--net=/proc/{pid}/fd/{node.fileno()}"]
        subprocess.run([*inside, "ip", "link", "set", nic, "netns", pid], check=True)
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{address}/30", "dev", nic),
            ("link", "set", nic, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        server = socket.create_server((address, PORT), backlog=128)
        system_call("setns", node.fileno(), NEW_NETWORK)
    return server


def _serve_one(connection: Connection) -> None:
    with contextlib.closing(connection), contextlib.suppress(Gone):
        frames: list[Frame] = []
        while not frames:
            frames = connection.receive()
        wanted = json.loads(frames[0][2])
        try:
            child = subprocess.Popen(
                wanted["argv"],
                env=wanted["env"],
                cwd=wanted["cwd"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            said = f"{error.filename or wanted['argv'][0]}: {error.strerror}\n"
            connection.send(Kind.DATA, 2, said.encode())
            status = 127 if isinstance(error, FileNotFoundError) else 126
            connection.send(Kind.CLOSED, 1)
            connection.send(Kind.CLOSED, 2)
            connection.send_number(Kind.STATUS, status)
        else:
            Command(connection, child).serve(frames[1:])
        connection.finish()

"""Commands in a VM, given by its host: both ends of a TCP connection for each command.

In the VM `serve` listens; on the host `run` takes the command's place: it has its stdin, stdout and
stderr, gets its signals and ends with its status. Run by the system's Python with ``-I -S``, hence
nothing but the standard library here, and one file.

A frame is its kind, the number of a stream (0, 1, 2) and the payload's length, then the payload. No
more than `WINDOW` bytes of each direction are under way: so nobody ever waits in `sendall` for one
who does not read, and signals pass at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import enum
import json
import os
import resource
import select
import selectors
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any, NoReturn

PORT = 1
WINDOW = 1 << 17
PIECE = 1 << 16

_HEAD = struct.Struct("!BBI")
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_BUFFER = 1 << 19  # for the window and the kernel's books about many short frames
_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends to a command and all that it has started."""
_PASSED_ON = (*_KEYBOARD, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


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

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def number_in(payload: bytes) -> int:
    """The number that `Connection.send_number` sent."""
    (number,) = struct.unpack("!i", payload)
    return int(number)


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
        """Whether the command may have written what its host has not got yet."""
        if self._outputs and self._room <= 0:
            return True
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
    server = _listen(nic, address)
    while True:
        connected, _ = server.accept()
        threading.Thread(target=_serve_one, args=(Connection(connected),), daemon=True).start()


def _listen(nic: str, address: str) -> socket.socket:
    """The node's own devices, routes and packet filters are not in the way of this socket."""
    pid = str(os.getpid())
    with open("/proc/self/ns/net") as node:
        _call("unshare", _NEW_NETWORK)
        inside = ["nsenter", f"--net=/proc/{pid}/fd/{node.fileno()}"]
        subprocess.run([*inside, "ip", "link", "set", nic, "netns", pid], check=True)
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{address}/30", "dev", nic),
            ("link", "set", nic, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        server = socket.create_server((address, PORT), backlog=128)
        _call("setns", node.fileno(), _NEW_NETWORK)
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
            return
        Command(connection, child).serve(frames[1:])


class Caller:
    """The command's stand-in on the host."""

    def __init__(self, connection: Connection, vm: int) -> None:
        self._connection = connection
        self._vm = vm
        self._open = {1, 2}
        self._room = WINDOW
        self._wanted = True
        self._changed = threading.Condition()

    def run(self, words: list[str]) -> int:
        """Have `words` run; the status, as `subprocess.Popen.returncode` has it."""
        request = {"argv": words, "env": dict(os.environ), "cwd": os.getcwd()}  # noqa: PTH109
        self._connection.send(Kind.RUN, 0, json.dumps(request).encode())
        passed = {n for n in _PASSED_ON if signal.getsignal(n) is not signal.SIG_IGN}
        signal.pthread_sigmask(signal.SIG_BLOCK, passed)
        threading.Thread(target=self._pass_signals, args=(passed,), daemon=True).start()
        threading.Thread(target=self._pass_stdin, daemon=True).start()
        status = None
        while status is None:
            status = self._receive()
        # Others may still write to the command's outputs: a process that stays behind passes that
        # on, so that who waits for the command sees it end, and who reads gets all of it.
        if self._open and os.fork() == 0:
            _close(0)
            with contextlib.suppress(Gone):
                while self._open:
                    self._receive()
            os._exit(0)
        return status

    def _receive(self) -> int | None:
        """Wait for frames and do what they say; the status, if it has come."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._vm, select.POLLIN)
        if self._connection.fileno() not in {number for number, _ in poll.poll()}:
            raise Gone  # a kernel that was killed closes no connection
        status = None
        for kind, stream, payload in self._connection.receive():
            if kind is Kind.DATA:
                self._write(stream, payload)
            elif kind is Kind.CLOSED and stream:
                self._close(stream)
            elif kind is Kind.STATUS:
                status = number_in(payload)
            else:
                with self._changed:
                    self._room += number_in(payload) if kind is Kind.TAKEN else 0
                    self._wanted = self._wanted and kind is not Kind.CLOSED
                    self._changed.notify_all()
        return status

    def _write(self, stream: int, data: bytes) -> None:
        size = len(data)
        try:
            while data and stream in self._open:
                data = data[os.write(stream, data) :]
        except OSError:
            self._close(stream)
            self._connection.send(Kind.CLOSED, stream)
        self._connection.send_number(Kind.TAKEN, size, stream)

    def _close(self, stream: int) -> None:
        if stream in self._open:
            self._open.discard(stream)
            _close(stream)

    def _pass_signals(self, passed: set[signal.Signals]) -> None:
        with contextlib.suppress(Gone):
            while True:
                self._connection.send_number(Kind.SIGNAL, signal.sigwait(passed))

    def _pass_stdin(self) -> None:
        with contextlib.suppress(Gone):
            while (data := self._next_input()) is not None:
                self._connection.send(Kind.DATA, 0, data)
            self._connection.send(Kind.CLOSED, 0)

    def _next_input(self) -> bytes | None:
        """More of stdin, as much as there is room for; None at its end."""
        with self._changed:
            self._changed.wait_for(lambda: self._room > 0 or not self._wanted)
        try:
            data = os.read(0, min(PIECE, self._room))
        except OSError:  # closed, or a terminal of which this process is in the background
            return None
        with self._changed:
            self._room -= len(data)
            if data and self._wanted:
                return data
        _close(0)
        return None


def call(arguments: argparse.Namespace) -> int:
    """Run the command; 255 with a sentence on stderr when the VM is not there (any more)."""
    try:
        vm = os.pidfd_open(arguments.pid)
        connection = _connect(arguments, vm)
        return Caller(connection, vm).run(arguments.words)
    except (Gone, ProcessLookupError):
        sentence = (
            f"node {arguments.node} is gone: its virtual machine ended; `neutron-cni lab logs "
            f"{arguments.node}` may say why, `neutron-cni lab up` repairs it"
        )
    except TimeoutError:
        sentence = (
            f"node {arguments.node} does not answer for {arguments.wait} s, and its virtual "
            f"machine runs: `neutron-cni lab node restart {arguments.node}` starts it anew"
        )
    with contextlib.suppress(OSError):
        os.write(2, f"{sentence}\n".encode())
    return 255


def _connect(arguments: argparse.Namespace, vm: int) -> Connection:
    """Try until it answers; `Gone` when the process `vm` ends, `TimeoutError` after `wait` s."""
    with open(arguments.namespace) as namespace:
        _call("setns", namespace.fileno(), _NEW_NETWORK)
    give_up = time.monotonic() + arguments.wait
    patience = 0.1
    while time.monotonic() < give_up:
        trial = socket.socket()
        trial.setblocking(False)
        trial.connect_ex((arguments.address, PORT))
        poll = select.poll()
        poll.register(trial, select.POLLOUT)
        poll.register(vm, select.POLLIN)
        ready = {number for number, _ in poll.poll(patience * 1000)}
        if vm in ready:
            raise Gone
        if ready and not trial.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return Connection(trial)
        trial.close()
        time.sleep(0.02)
        # A busy VM needs longer for its answer; one that boots does not hear the first.
        patience = min(patience * 1.5, 5)
    raise TimeoutError


def _end(status: int) -> NoReturn:
    """End as the command did, which may be by a signal."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def _close(stream: int) -> None:
    with contextlib.suppress(OSError):
        os.close(stream)


def _call(name: str, *words: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*words):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    server = roles.add_parser("serve")
    server.add_argument("nic")
    server.add_argument("address")
    server.set_defaults(act=lambda it: serve(it.nic, it.address))
    caller = roles.add_parser("run")
    caller.add_argument("--wait", type=float, default=30)
    for name in ("node", "namespace", "address"):
        caller.add_argument(name)
    caller.add_argument("pid", type=int)
    caller.add_argument("words", nargs="+")
    caller.set_defaults(act=lambda it: _end(call(it)))
    arguments = parser.parse_args()
    arguments.act(arguments)


if __name__ == "__main__":
    main()

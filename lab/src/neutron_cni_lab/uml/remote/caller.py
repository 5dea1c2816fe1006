"""On the host: takes the place of a command that runs in the VM."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import signal
import socket
import threading
import time
from typing import NoReturn

from frames import NEW_NETWORK, PIECE, PORT, WINDOW, Connection, Gone, Kind, number_in, system_call

_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Caller:
    """The command's stand-in on the host."""

    def __init__(self, connection: Connection, vm: int) -> None:
        self._connection = connection
        self._vm = vm
        self._outputs = {1: bytearray(), 2: bytearray()}
        """What came for each that is open and was not written yet."""
        self._ended: set[int] = set()
        self._status: int | None = None
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
        try:
            while self._status is None:
                self._step()
        finally:
            self._write_what_is_taken()
        # Others may still write to the command's outputs, or nobody read them yet: as a pipe does
        # for a command that has ended, a process that stays behind passes the rest on.
        if self._outputs and os.fork() == 0:
            self._stay_behind()
        return self._status

    def _stay_behind(self) -> NoReturn:
        close(0)
        with contextlib.suppress(Gone):
            while self._outputs:
                self._step()
        for stream, data in self._outputs.items():  # all has come, and waits for its reader
            with contextlib.suppress(OSError):
                while data:
                    del data[: os.write(stream, data)]
        os._exit(0)

    def _step(self) -> None:
        """Wait for what comes, and for room for what has come; do what can be done."""
        poll = self._poll_outputs()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._vm, select.POLLIN)
        ready = {number for number, _ in poll.poll()}
        for stream in ready & self._outputs.keys():
            self._write(stream)
        if self._connection.fileno() in ready:
            for frame in self._connection.receive():
                self._obey(*frame)
        elif self._vm in ready:
            raise Gone  # a kernel that was killed closes no connection

    def _obey(self, kind: Kind, stream: int, payload: bytes) -> None:
        if kind is Kind.DATA and stream in self._outputs:
            self._outputs[stream] += payload
        elif kind is Kind.CLOSED and stream:
            self._ended.add(stream)
            self._close_if_done(stream)
        elif kind is Kind.STATUS:
            self._status = number_in(payload)
        elif kind in (Kind.TAKEN, Kind.CLOSED):
            with self._changed:
                self._room += number_in(payload) if kind is Kind.TAKEN else 0
                self._wanted = self._wanted and kind is not Kind.CLOSED
                self._changed.notify_all()

    def _poll_outputs(self) -> select.poll:
        poll = select.poll()
        for stream, data in self._outputs.items():
            if data:
                poll.register(stream, select.POLLOUT)
        return poll

    def _write(self, stream: int) -> None:
        """Write no more than a pipe takes without delay once it is ready (POSIX: PIPE_BUF)."""
        data = self._outputs[stream]
        try:
            written = os.write(stream, data[: select.PIPE_BUF])
        except OSError:
            del self._outputs[stream]
            close(stream)
            self._connection.send(Kind.CLOSED, stream)
            written = len(data)
        del data[:written]
        self._connection.send_number(Kind.TAKEN, written)
        self._close_if_done(stream)

    def _write_what_is_taken(self) -> None:
        with contextlib.suppress(Gone):
            while ready := self._poll_outputs().poll(0):
                for stream, _ in ready:
                    self._write(stream)

    def _close_if_done(self, stream: int) -> None:
        if stream in self._ended and not self._outputs.get(stream, b"data"):
            del self._outputs[stream]
            close(stream)

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
        close(0)
        return None


def call(arguments: argparse.Namespace) -> int:
    """Run the command; 255 with a sentence on stderr when the VM is not there (any more)."""
    try:
        vm = os.pidfd_open(arguments.pid)
        connection = _connect(arguments, vm)
        return Caller(connection, vm).run(arguments.words)
    except (Gone, ProcessLookupError):
        sentence = (
            f"node {arguments.node} is gone: its virtual machine ended or rebooted meanwhile; "
            f"`neutron-cni lab logs {arguments.node}` may say why, `neutron-cni lab up` repairs it"
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
        system_call("setns", namespace.fileno(), NEW_NETWORK)
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
            _watch(trial)
            return Connection(trial)
        trial.close()
        time.sleep(0.02)
        # A busy VM needs longer for its answer; one that boots does not hear the first.
        patience = min(patience * 1.5, 1)
    raise TimeoutError


def _watch(connected: socket.socket) -> None:
    """A VM that reboots by itself forgets the connection, and says so when it is asked."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 60)


def end(status: int) -> NoReturn:
    """End as the command did, which may be by a signal."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def close(stream: int) -> None:
    with contextlib.suppress(OSError):
        os.close(stream)

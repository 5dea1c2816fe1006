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


def _close(stream: int) -> None:
    with contextlib.suppress(OSError):
        os.close(stream)

"""Processes that end with the one that started them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, Any

PATIENCE = 20.0
"""Seconds that a group of processes may take to end by itself."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Stopped(Exception):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        self.name = signal.Signals(number).name


@contextmanager
def signals_stop() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP raises Stopped; further ones don't disturb the end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    former = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def group(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    output: IO[Any] | None = None,
    keep_open: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is ended when the block is left.

    Should we be killed, which no code of ours can do anything about, the kernel sends it SIGINT.
    `keep_open`: descriptors that it inherits.
    """
    us = os.getpid()

    def ends_with_us() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != us:  # we died before the kernel was told
            os.kill(os.getpid(), signal.SIGINT)

    child = subprocess.Popen(
        command,
        env=environ,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        process_group=0,
        pass_fds=keep_open,
        preexec_fn=ends_with_us,
    )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask the group of `child` to end, and kill what has not ended after PATIENCE."""
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

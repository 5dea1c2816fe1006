"""A process that has everything imported and forks one child per job: milliseconds, not seconds.

It has one thread, so that its children are sound. `Zygote` is the other end, in the test.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.reliability.jobs import Job, Outcome, arrange, perform, really_sleep
from tests.reliability.tracer import Tracer

PATIENCE = 150.0
"""Seconds that a job may take before it counts as hanging."""


class Zygote:
    """Runs jobs in processes of their own. Use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def run(self, *jobs: Job) -> list[Outcome]:
        """All of them at the same time; returns when all have ended. AssertionError on defects."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(jobs) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the zygote is gone"
        outcomes = msgspec.json.decode(line, type=list[Outcome])
        defects = [outcome.error for outcome in outcomes if outcome.code < 0]
        assert not defects, "\n".join(defects)
        return outcomes


def main() -> None:
    """Read a line of jobs, run them, write a line of outcomes; until there are no more."""
    _import_all()
    # Else each child's collector writes to all that was imported, and the kernel copies its pages.
    gc.collect()
    gc.freeze()
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        outcomes = _run(msgspec.json.decode(line, type=list[Job]))
        os.write(answers, msgspec.json.encode(outcomes) + b"\n")


def _import_all() -> None:
    import neutron_cni.ipam.audit.mend
    import neutron_cni.openstack.neutron  # noqa: F401
    from neutron_cni.ipam.modes import MODES

    assert all(entry.page for entry in MODES.values()), "importing a page gives it"


def _run(jobs: Sequence[Job]) -> list[Outcome]:
    children = [_start(job) for job in jobs]
    began = time.monotonic()
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < len(jobs):
        for number, (job, (pid, pipe)) in enumerate(zip(jobs, children, strict=True)):
            if number in outcomes:
                continue
            lived = time.monotonic() - began
            if lived > PATIENCE or (job.kill_when and Path(job.kill_when).exists()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                outcomes[number] = _outcome(pipe, status, lived)
        time.sleep(0.002)
    return [outcomes[number] for number in range(len(jobs))]


def _outcome(pipe: int, status: int, lived: float) -> Outcome:
    with os.fdopen(pipe, "rb") as file:
        text = file.read()
    if lived > PATIENCE:
        return Outcome(code=-1, error="hung")
    if text:
        return msgspec.json.decode(text, type=Outcome)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Outcome(killed=True)
    return Outcome(code=-1, error=f"ended with wait status {status} and without an answer")


def _start(job: Job) -> tuple[int, int]:
    """The child's pid, and a pipe that it writes its outcome to."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.close(reader)
        outcome = _in_child(job)
        os.write(writer, msgspec.json.encode(outcome))
    finally:
        os._exit(0)


def _in_child(job: Job) -> Outcome:
    arrange(job)
    really_sleep(job.delay)
    tracer = Tracer(job.kill_at)
    if job.kill_at or job.measure:
        tracer.start()
    try:
        outcome = perform(job)
    except BaseException:
        outcome = Outcome(code=-1, error=f"{job.kind}: {traceback.format_exc()}")
    tracer.stop()
    outcome.lines, outcome.marks = tracer.lines, tracer.marks
    return outcome


if __name__ == "__main__":
    main()

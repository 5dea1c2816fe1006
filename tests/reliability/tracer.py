"""Counts the lines of neutron_cni that a process executes, and kills it at one of them.

No fault points in the product: `sys.settrace` sees every line, so a process can be ended (SIGKILL,
no handler runs) before any of them. Knows nothing else of the tests, as real plugin processes load
it too (`python tracer.py LINE PLUGIN`, or `... LINE sweeper STATE_DIR`). With LINE 0 it
writes the number of lines, and of those where the world changes, into the file $TRACER_REPORT.
"""

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

PACKAGE = f"{os.sep}neutron_cni{os.sep}"
COMMIT = '.execute("COMMIT")'
SEND = "return self._adapter.request("
ANSWERED = "if response.status_code >= 400:"
CHANGES = ("POST", "PUT", "DELETE", "PATCH")


class _LocalTrace(Protocol):
    def __call__(self, frame: FrameType, event: str, arg: Any) -> _LocalTrace | None: ...


class Tracer:
    """Trace this thread; die before line number `kill_at` (counted from 1), 0: never.

    `marks`: the numbers of the lines where the world changes: just before and just after each
    commit of the store, and just before and after each changing call of Neutron.
    """

    def __init__(self, kill_at: int = 0) -> None:
        self.lines = 0
        self.marks: list[int] = []
        self._kill_at = kill_at
        self._just_committed = False

    def start(self) -> None:
        """From now on every line counts."""
        sys.settrace(self._call)

    def stop(self) -> None:
        """No longer."""
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> _LocalTrace | None:
        return self._line if PACKAGE in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> _LocalTrace | None:
        if event == "line":
            self.lines += 1
            if self.lines == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if not self._kill_at:
                self._mark(frame)
        return self._line

    def _mark(self, frame: FrameType) -> None:
        if self._just_committed:
            self._just_committed = False
            self.marks.append(self.lines)
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if COMMIT in text:
            self._just_committed = True
            self.marks.append(self.lines)
        elif (SEND in text or ANSWERED in text) and frame.f_locals.get("method") in CHANGES:
            self.marks.append(self.lines)


def main(kill_at: int, program: str, *arguments: str) -> None:
    """Be the CNI plugin, or the sweeper, and die at that line."""
    sys.argv[:] = [program, *arguments]
    tracer = Tracer(kill_at)
    if kill_at == 0:
        _report_at_exit(tracer)
    tracer.start()
    threading.settrace(tracer._call)  # What is done in a pod's namespace is done in a thread.
    if program == "sweeper":
        from neutron_cni.ipam.sweeper import main as sweep

        sweep(*arguments)
        os._exit(0)
    from neutron_cni.launcher import main as launch

    launch()


def _report_at_exit(tracer: Tracer) -> None:
    """The plugin ends by `os._exit`, which nothing else can be hung on."""
    leave = os._exit

    def tell_and_leave(status: int) -> None:
        tracer.stop()
        report = " ".join(map(str, [tracer.lines, *tracer.marks]))
        Path(os.environ["TRACER_REPORT"]).write_text(report)
        leave(status)

    os._exit = tell_and_leave  # type: ignore[assignment]


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

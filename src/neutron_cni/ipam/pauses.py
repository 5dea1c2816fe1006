"""How a call waits while another process serves its request."""

from __future__ import annotations

import time
from random import Random
from typing import Protocol

FIRST_POLL, LAST_POLL = 0.01, 0.15
"""Seconds that a process sleeps between looks at the store; they grow, so that fifty processes that
wait for one leave it the processor."""


class Pauses(Protocol):
    """The pauses of one waiting call."""

    def wait(self, longest: float) -> None:
        """Return when the store may have changed, after `longest` seconds at the latest."""


class Polling:
    """For a process of its own, which nobody can wake: growing sleeps with jitter."""

    def __init__(self) -> None:
        self._random = Random()
        self._pause = FIRST_POLL

    def wait(self, longest: float) -> None:
        """See `Pauses`."""
        time.sleep(min(longest, self._random.uniform(self._pause / 2, self._pause)))
        self._pause = min(LAST_POLL, self._pause * 1.5)

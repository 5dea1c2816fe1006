"""When to ask again, and how long to wait before: by kind of failure, within one deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from neutron_cni.openstack.errors import CloudError, Unreachable
from neutron_cni.values.deadline import Deadline

T = TypeVar("T")

CALL_TIMEOUT = 30.0
"""Seconds one call may take: the slowest seen (a port with 110 addresses) took 4.4."""
CONNECT_TRIES = 3
BUSY_TRIES = 6
LONGEST_WAIT = 30.0
"""Seconds; a `Retry-After` that asks for more is not waited out in full."""


class Busy(Exception):
    """Inside the retry loop: an answer that may be worth waiting for; `cause` if it is not."""

    def __init__(self, cause: CloudError, untouched: bool = False, wait: float = 0.0) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.untouched = untouched
        """Whether nothing was carried out for sure, so that a change may be sent again."""
        self.wait = wait


def patiently(attempt: Callable[[float], T], is_read: bool, doing: str, deadline: Deadline) -> T:
    """What `attempt`, given the seconds it may take, returns when it succeeds."""
    unreachable = busy = 0
    while True:
        left = deadline.require(doing)
        try:
            return attempt(min(CALL_TIMEOUT, left))
        except Unreachable as error:
            unreachable += 1
            if unreachable >= CONNECT_TRIES:
                raise
            _pause(0.0, 0.2 * unreachable, deadline, error)
        except Busy as error:
            busy += 1
            # 429 was not carried out; another 5xx may have been, so only reads go again.
            if busy >= BUSY_TRIES or not (error.untouched or is_read):
                raise error.cause from None
            _pause(error.wait, 0.2 * 2**busy, deadline, error.cause)


def retry_after(said: str | None) -> float:
    """Seconds that a `Retry-After` asks for (RFC 9110: a number, or a date); 0 for nonsense."""
    try:
        seconds = float(said or 0)
    except ValueError:
        seconds = _until(said or "")
    return min(LONGEST_WAIT, max(0.0, seconds)) if seconds == seconds else 0.0  # NaN is not itself


def _until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    # A date without a zone, which RFC 9110 does not know, means UTC in RFC 5322.
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (then - datetime.now(UTC)).total_seconds()


def _pause(least: float, more: float, deadline: Deadline, error: CloudError) -> None:
    """Wait `least` seconds, as Neutron asked, and up to `more`; raise `error` if out of time.

    With jitter: many nodes that failed together must not come back together.
    """
    seconds = least + random.uniform(more / 2, more)
    if seconds >= deadline.left:
        raise error from None
    time.sleep(seconds)

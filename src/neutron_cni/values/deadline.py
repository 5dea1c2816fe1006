"""A point in time that travels with a request, so that time-outs nest."""

from __future__ import annotations

import time
from dataclasses import dataclass

from neutron_cni.values.errors import CniError, Code


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a request must be answered, on the monotonic clock (seconds)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def require(self, doing: str) -> float:
        """Seconds left; raises CniError TRY_AGAIN naming what we were `doing` when it passed."""
        left = self.left
        if left <= 0:
            raise CniError(
                Code.TRY_AGAIN,
                f"the deadline of this request passed while {doing}",
                "the runtime will try again; a longer deadline: `timeout` in the ipam section",
            )
        return left

    def at_most(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))

"""A point in time that is handed on with a request, so that no inner time-out outlasts it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from neutron_cni.values.errors import CniError, Code


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a request must be answered. `at` is in seconds, as `time.monotonic` counts them."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self.at - time.monotonic())

    def require(self, doing: str) -> float:
        """Seconds until the deadline; raises CniError TRY_AGAIN once it has passed.

        `doing` completes the message: "the deadline of this request passed while ...".
        """
        left = self.left
        if left <= 0:
            raise CniError(
                Code.TRY_AGAIN,
                f"the deadline of this request passed while {doing}",
                "the runtime will try again; a longer deadline: `timeout` in the ipam section",
            )
        return left

    def at_most(self, seconds: float) -> Deadline:
        """This deadline, or the one `seconds` from now if that is earlier."""
        return Deadline(min(self.at, time.monotonic() + seconds))

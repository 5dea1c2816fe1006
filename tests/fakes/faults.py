"""What a test wants to go wrong: which requests, how often, and how."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FOREVER = -1

BODIES = {
    401: '{"error": {"code": 401, "title": "Unauthorized", '
    '"message": "The request you have made requires authentication."}}',
    403: '{"NeutronError": {"type": "PolicyNotAuthorized", '
    '"message": "rule:update_port is disallowed by policy", "detail": ""}}',
    404: '{"NeutronError": {"type": "HTTPNotFound", '
    '"message": "The resource could not be found.", "detail": ""}}',
    500: '{"NeutronError": {"type": "HTTPInternalServerError", "message": "Request Failed: '
    'internal server error while processing your request.", "detail": ""}}',
}
"""What Neutron itself says; 429, 502, 503 and 504 come from proxies, in HTML."""


class Drop(StrEnum):
    """When a connection is closed without an answer."""

    BEFORE = "before"
    """Nothing was done."""
    AFTER = "after"
    """It was done all the same."""


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path match (regular expressions).

    First `delay` seconds pass; then `status` is the answer and nothing is done, or the connection
    is dropped. Without either the request is served late.
    """

    method: str = ".*"
    path: str = ".*"
    times: int = 1
    skip: int = 0
    """So many requests that match are served first."""
    status: int | None = None
    retry_after: str | None = None
    body: str | None = None
    delay: float = 0.0
    drop: Drop | None = None

    def __post_init__(self) -> None:
        if self.drop is not None:
            self.drop = Drop(self.drop)  # from JSON it comes as a string

    def matches(self, method: str, path: str) -> bool:
        """Whether the request is meant; `path` begins after `/v2.0`."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))

    @property
    def text(self) -> str:
        """The body of an answer with `status`."""
        if self.body is not None:
            return self.body
        status = self.status or 0
        return BODIES.get(status, f"<html><body><h1>{status}</h1></body></html>")


class Faults:
    """The faults that are waiting, and rivals' edits before PUTs of ports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._rival_every = 0
        self._puts = 0

    def add(self, *faults: Fault) -> None:
        """Of several that match a request the first one added is taken."""
        with self._lock:
            self._waiting.extend(faults)

    def rival_every(self, number: int) -> None:
        """Before every `number`-th PUT of a port somebody else edits it (0: never): 412 storm."""
        with self._lock:
            self._rival_every, self._puts = number, 0

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        with self._lock:
            self._waiting.clear()
            self._rival_every = 0

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, used up by one."""
        with self._lock:
            for fault in self._waiting:
                if fault.times != 0 and fault.matches(method, path):
                    if fault.skip > 0:
                        fault.skip -= 1
                        return None
                    fault.times -= fault.times != FOREVER
                    return fault
            return None

    def rival_is_due(self) -> bool:
        """Called before each PUT of a port."""
        with self._lock:
            self._puts += 1
            return self._rival_every > 0 and self._puts % self._rival_every == 0


def from_json(raw: dict[str, Any]) -> Fault:
    """A fault as the control endpoint takes it: the fields by name."""
    return Fault(**raw)

"""What this process has open: files, and connections."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import sleep

from neutron_cni.values.deadline import Deadline

SECONDS = 5.0
"""For what ends by itself: the far end of a connection, which a thread of a fake cloud has."""


def open_descriptors() -> set[tuple[int, str]]:
    """Numbers of the open descriptors, and what each is of."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the folder itself
            found.add((int(path.name), str(path.readlink())))
    return found


def require_closed_since(before: set[tuple[int, str]]) -> None:
    """Return once nothing is open that was not `before`; AssertionError if something stays so."""
    deadline = Deadline.after(SECONDS)
    while left := open_descriptors() - before:
        assert deadline.left > 0, f"left open: {sorted(what for _, what in left)}"
        sleep(0.01)

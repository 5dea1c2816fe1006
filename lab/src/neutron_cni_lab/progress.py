"""Tells the user what step is under way and how long each took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Prints a line when a step begins and one when it ends, on stderr: stdout is for results.

    Plain lines, since steps overlap and a log of a CI run has to be readable too.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._began = time.monotonic()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say `what` is begun, and when the block has ended its seconds."""
        began = time.monotonic()
        self._line("...", what, "dim")
        try:
            yield
        except BaseException:
            self._line(f"{time.monotonic() - began:.1f} s", f"{what}: failed", "red")
            raise
        self._line(f"{time.monotonic() - began:.1f} s", what, "")

    def note(self, what: str) -> None:
        """Say `what`, at once."""
        self._line("", what, "")

    def done(self, what: str) -> None:
        """Close with `what` and the time since this object was made."""
        self._line(f"{time.monotonic() - self._began:.1f} s", what, "bold")

    def _line(self, left: str, right: str, style: str) -> None:
        self._console.print(f"{left:>8}  {right}", style=style, markup=False, soft_wrap=True)

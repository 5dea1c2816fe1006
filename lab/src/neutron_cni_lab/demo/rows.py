"""A table that is printed row by row as it is measured, on a terminal and into a file alike."""

import textwrap
from collections.abc import Sequence

from rich.console import Console

_WIDTH = 100
"""Columns where the output is no terminal, which would say its own."""

_LEAST_WIDTH = 30
_TIME_WIDTH = 6
_GAP = "  "


class Rows:
    """Prints ``check | from -> to | result | time``; what does not fit is wrapped, never cut.

    No table of rich's: that one is printed whole, and its lines end in blanks.
    """

    def __init__(self, whats: Sequence[str], paths: Sequence[str]) -> None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=_WIDTH)
        self.console = console
        first, second = (max(map(len, texts)) for texts in (whats, paths))
        rest = console.width - first - second - _TIME_WIDTH - 3 * len(_GAP)
        self._widths = (first, second, max(rest, _LEAST_WIDTH), _TIME_WIDTH)

    def header(self) -> None:
        """The headings."""
        self._row("check", "from -> to", "result", "time", style="bold")
        self._row(*("-" * width for width in self._widths))

    def result(self, what: str, path: str, ok: bool, text: str, seconds: float) -> None:
        """One measurement."""
        mark = "ok  " if ok else "FAIL"
        self._row(what, path, f"{mark} {text}", f"{seconds:.1f} s", style="" if ok else "red")

    def _row(self, what: str, path: str, text: str, time: str, style: str = "") -> None:
        first, second, third, fourth = self._widths
        line, *more = textwrap.wrap(text, third, subsequent_indent=" " * 5)
        shown = f"{what:<{first}}{_GAP}{path:<{second}}{_GAP}{line:<{third}}{_GAP}{time:>{fourth}}"
        for words in (shown, *(" " * (first + second + 2 * len(_GAP)) + line for line in more)):
            self.console.print(words, style=style, markup=False, soft_wrap=True)

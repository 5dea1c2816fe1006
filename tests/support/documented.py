"""What the documentation tells operators to run or to write, for tests that do it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def block(page: str, kind: str) -> str:
    """The one fenced block of a how-to page that is marked so ("sh metadata")."""
    found = re.findall(
        rf"^```{re.escape(kind)}\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL
    )
    (text,) = found
    return str(text)


def commands(page: str, kind: str) -> list[list[str]]:
    """The commands of such a block, as words."""
    return [shlex.split(line) for line in block(page, kind).splitlines()]

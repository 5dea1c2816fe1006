"""Runs the checks of a demo, shows them as a table, and says what to try next."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from neutron_cni_lab.demo.rows import Rows
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.paths import default_name

S = TypeVar("S", bound=Scene)


@dataclass(frozen=True)
class Outcome:
    """Whether it was as it should be, and what was seen."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Check(Generic[S]):
    """One row. `measure` raises `LabError` where not even that could be done."""

    what: str
    path: str
    measure: Callable[[S], Outcome]


def show(checks: Sequence[Check[S]], scene: S, what_next: Callable[[S], str], began: float) -> bool:
    """Measure row by row, print the table and what to try next; whether all was as it should be.

    `began`: when the user's wait began, in Unix seconds.
    """
    rows = Rows([check.what for check in checks], [check.path for check in checks])
    first = time.monotonic()
    failed = 0
    rows.header()
    for check in checks:
        since = time.monotonic()
        outcome = _measured(check, scene)
        failed += not outcome.ok
        rows.result(check.what, check.path, outcome.ok, outcome.text, time.monotonic() - since)
    verdict = f"{failed} of {len(checks)} FAILED" if failed else f"All {len(checks)} passed"
    took, total = time.monotonic() - first, time.time() - began
    rows.console.print(f"\n{verdict} in {took:.0f} s; {total:.0f} s in all.", style="bold")
    if not failed:
        rows.console.print(what_next(scene), soft_wrap=True, markup=False)
    return not failed


def lab_option(lab: Lab) -> str:
    """What a command of `neutron-cni lab` needs to mean this lab, a blank in front of it."""
    name = lab.places.name
    return "" if name == default_name() else f" --name {name}"


def program() -> str:
    """This program as the user can type it where he is."""
    path = Path(sys.prefix) / "bin" / "neutron-cni"
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _measured(check: Check[S], scene: S) -> Outcome:
    """What went wrong, of whatever kind, is that row's; the others can still be measured."""
    try:
        return check.measure(scene)
    except LabError as error:
        return Outcome(False, str(error))
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {error}")

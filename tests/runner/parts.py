"""The parts of the tests, how often each kind of chance is tried, and what a run needs for that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTS = ("unit", "kernel", "openstack", "vm", "nova", "kubernetes", "cluster")
"""Folders of tests/, each named after what its tests need."""

WITHOUT_ROOT = ("unit",)
"""Parts that anybody can run; all others make network namespaces."""

WITH_LAB = ("openstack", "vm", "nova")
"""Parts whose tests need a lab, one for each worker that runs them."""

WITH_KUBERNETES = ("vm",)
"""Parts some of whose tests need Kubernetes' programs."""

FULL = "full"
"""The word that asks for the larger counts."""


class Refused(Exception):
    """The run can't begin; the text says why."""


@dataclass(frozen=True)
class Choice:
    """What the arguments ask for: `parts` have tests, `empty` were asked for and have none yet."""

    full: bool
    parts: tuple[str, ...]
    empty: tuple[str, ...]

    @property
    def everything(self) -> bool:
        """Whether every test there is will run."""
        return len(self.parts) + len(self.empty) == len(PARTS)

    @property
    def needs_lab(self) -> bool:
        """Whether some of the workers need a lab."""
        return any(part in WITH_LAB for part in self.parts)

    @property
    def needs_kubernetes(self) -> bool:
        """Whether Kubernetes' programs will be asked for."""
        return any(part in WITH_KUBERNETES for part in self.parts)


@dataclass(frozen=True)
class Count:
    """How often something is tried at random; `variable` tells the tests."""

    variable: str
    quick: int
    full: int
    what: str


COUNTS = (
    Count("NEUTRON_CNI_KILLS", 60, 600, "kills in a fake cloud"),
    Count("NEUTRON_CNI_REAL_KILLS", 18, 150, "kills in the lab"),
    Count("NEUTRON_CNI_CALLS", 40, 200, "random calls at once in the lab"),
    Count("NEUTRON_CNI_VM_KILLS", 12, 60, "kills in a VM of the lab"),
    Count("NEUTRON_CNI_VM_CALLS", 30, 100, "random calls at once in a VM of the lab"),
    Count("NEUTRON_CNI_NICS", 12, 30, "NICs in and out of a VM"),
    Count("NEUTRON_CNI_MANAGERS", 1, 2, "network managers beside pods' NICs"),
    Count("NEUTRON_CNI_MUTATIONS", 2000, 10000, "broken calls"),
    Count("NEUTRON_CNI_LIVES", 4, 60, "random lives per mode"),
)


def choose(words: Sequence[str], tests: Path, root: bool | None = None) -> Choice:
    """What `words` ask for; Refused if there is no such part, or this user can't run it."""
    full = words[:1] == [FULL]
    asked = list(dict.fromkeys(words[1:] if full else words)) or list(PARTS)
    for word in asked:
        if word not in PARTS:
            raise Refused(f"no part '{word}': one of {' '.join(PARTS)}")
    found = tuple(part for part in asked if any((tests / part).rglob("test_*.py")))
    if not found:
        raise Refused(f"nothing to run: {', '.join(asked)}: there are no such tests yet")
    if not (os.geteuid() == 0 if root is None else root):
        for part in found:
            if part not in WITHOUT_ROOT:
                raise Refused(f"the part '{part}' makes network namespaces: run it as root")
    return Choice(full, found, tuple(part for part in asked if part not in found))


def counts(full: bool, environ: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The variables for the tests, and a line that says them; what is in `environ` stays."""
    variables, told = {}, []
    for count in COUNTS:
        usual, other = (count.full, count.quick) if full else (count.quick, count.full)
        variables[count.variable] = environ.get(count.variable) or str(usual)
        name = "quick" if full else "full"
        told.append(f"{variables[count.variable]} {count.what} ({name}: {other})")
    return variables, f"{'full' if full else 'quick'}: {', '.join(told)}"


def workers(choice: Choice, processors: int) -> tuple[int, int]:
    """How many workers have a lab, and how many have none.

    Two that wait for their labs and two that compute keep two processors busy; more take more.
    """
    without = 2 if processors < 4 else processors // 2
    return (without if choice.needs_lab else 0), without

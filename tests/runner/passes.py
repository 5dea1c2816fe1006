"""How often a run calls pytest: once, and once more for what labs with another driver are to show.

A lab has one mechanism driver. The tests that hold with either run in the first pass on ML2/OVN,
and in the second on ML2/OVS: `./test full` repeats all of `tests/openstack`, otherwise only files
marked `both_drivers`, which have the main job, each mode, and who reaches whom.
What is marked `only_full` takes minutes, and waits for `./test full`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.runner import coverage
from tests.runner.parts import Choice

AGAIN = "openstack"
"""The part whose tests run on nodes that share the machine's kernel, with any driver."""

DRIVER_ITSELF = ("tests/openstack/test_lab.py", "tests/openstack/test_lab_ovs.py")
"""They bring up labs by themselves, each with the driver that it is about."""


@dataclass(frozen=True)
class Pass:
    """One call of pytest with these words. `title`: what to say before it, empty for the first."""

    title: str
    words: tuple[str, ...]
    driver: str
    workers: int


def passes(choice: Choice, labs: int, others: int) -> list[Pass]:
    """The calls that a choice needs, with so many workers that have a lab, and that have none."""
    parts = tuple(f"tests/{part}" for part in choice.parts)
    # Of the first only: a second measurement would take the place of the first one's.
    measured = coverage.OPTIONS if choice.everything else ()
    left_out = () if choice.full else ("-m", "not only_full")
    first = Pass("", (*measured, *parts, *left_out), "ovn", labs + others)
    if AGAIN not in choice.parts:
        return [first]
    return [first, Pass("the same on ML2/OVS", _again(choice.full), "ovs", labs)]


def _again(full: bool) -> tuple[str, ...]:
    which = [f"--ignore={file}" for file in DRIVER_ITSELF] if full else ["-m", "both_drivers"]
    return (f"tests/{AGAIN}", *which)

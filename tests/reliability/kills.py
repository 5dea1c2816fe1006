"""Kill -9 at every point: processes of the IPAM die at each line that matters, and life goes on.

Systematic: for each thing that a process does, a first run counts its lines and notes those where
the world changes (store commits, changing calls of Neutron); then one life for each of them, and
for lines spread evenly between them. Random: lives in which several processes die, alone, as the
leader of a group, or while their request is under way in Neutron. Every life ends with its
containers deleted, or collected by GC, or lost in a reboot; then leaks are counted.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.reliability.jobs import Outcome
from tests.reliability.life import QUARANTINE, Life
from tests.reliability.scene import Scene
from tests.reliability.zygote import Zygote

CIDR = "10.9.0.0/26"
MAX_CONTAINERS = 5
"""With those whose ADD died and may be repeated: all have to find room among ten pairs."""
SPREAD = 40
"""Lines of each act that are tried besides those where the world changes."""
UNDER_WAY = 0.06
"""Seconds that a request may still take in Neutron when its sender has died."""
CHANGES = "PUT|POST|DELETE"
WHERE = "/(ports|v2.1/servers)"


@dataclass
class Tally:
    """What came of the kills in one mode."""

    mode: Mode
    warm: int = 0
    """NICs that are kept for pods to come."""
    kills: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    points: int = 0
    """Lines just before or after a commit or a changing call, in all acts."""
    visited: int = 0
    """How many of those a process died at."""
    leaks: list[str] = field(default_factory=list)
    """Sentences: what was left in Neutron or the store when nobody lived."""
    wrong: list[str] = field(default_factory=list)
    """Sentences: addresses shared, taken away, given too early; rivals' things lost."""
    stories: list[str] = field(default_factory=list)

    def note(self, kind: str, life: Life, left: list[str]) -> None:
        """A life has ended."""
        self.lives += 1
        self.kills += life.kills
        self.by_kind[kind] = self.by_kind.get(kind, 0) + life.kills
        self.leaks += left
        self.wrong += life.wrong
        if left or life.wrong:
            lines = [f"{self.mode}, {kind}:", *life.story]
            self.stories.append("\n  ".join([*lines, *map(str, life.wrong), *left]))

    @property
    def _kept(self) -> str:
        return f", {self.warm} NICs ready" if self.warm else ""

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(self.by_kind.items()))
        return (
            f"{self.mode}{self._kept}: {self.kills} kills in {self.lives} lives ({kinds}), of them "
            f"{self.visited} at the {self.points} lines where the world changes: "
            f"{len(self.leaks)} leaks, {len(self.wrong)} addresses shared or taken away"
        )


Act = Callable[[Life, int, bool], Outcome]
"""Does one thing in a life whose stage is set; dies at the line, or measures."""


def _add(life: Life, kill_at: int, measure: bool) -> Outcome:
    return life.add(kill_at=kill_at, measure=measure)


def _add_again(life: Life, kill_at: int, measure: bool) -> Outcome:
    """An ADD that takes up what a dead one left half done."""
    container = life.new_container()
    life.add(container, kill_at=life.rng.randrange(400, 1700))
    return life.add(container, kill_at=kill_at, measure=measure)


def _somebody(life: Life) -> str:
    """A container that lives."""
    if not life.containers:
        life.add()
    return life.containers[0]


def _delete(life: Life, kill_at: int, measure: bool) -> Outcome:
    return life.delete(_somebody(life), kill_at=kill_at, measure=measure)


def _delete_half_made(life: Life, kill_at: int, measure: bool) -> Outcome:
    """A DEL of what a dead ADD left half done."""
    container = life.new_container()
    life.add(container, kill_at=life.rng.randrange(400, 2000))
    return life.delete(container, kill_at=kill_at, measure=measure)


def _collect(life: Life, kill_at: int, measure: bool) -> Outcome:
    container = _somebody(life)
    life.delete(container, kill_at=1)
    life.pending.pop(container, None)
    life.uncollected = True
    return life.collect(kill_at=kill_at, measure=measure)


def _sweep(life: Life, kill_at: int, measure: bool) -> Outcome:
    life.delete(_somebody(life))
    life.pass_time(QUARANTINE + 1)
    return life.sweep(kill_at=kill_at, measure=measure)


def _rebuild(life: Life, kill_at: int, measure: bool) -> Outcome:
    """An ADD that finds the store gone."""
    life.lose_store()
    return life.add(kill_at=kill_at, measure=measure)


def _after_boot(life: Life, kill_at: int, measure: bool) -> Outcome:
    life.reboot()
    return life.add(kill_at=kill_at, measure=measure)


ACTS: dict[str, Act] = {
    "add": _add,
    "add again": _add_again,
    "del": _delete,
    "del, half made": _delete_half_made,
    "gc": _collect,
    "sweep": _sweep,
    "add, store lost": _rebuild,
    "add after reboot": _after_boot,
}


@contextmanager
def new_life(zygote: Zygote, mode: Mode, rng: random.Random, warm: int = 0) -> Iterator[Life]:
    """A life whose stage is set: a rival's address, pair and tag, and two containers or none.

    Where nobody else lives, nothing that happens to others cleans up by the way.
    """
    with (
        TemporaryDirectory(prefix="ncni-kills-") as folder,
        Scene(Path(folder), (CIDR,), rng.getrandbits(32)) as scene,
    ):
        life = Life(scene, zygote, mode, rng, warm)
        life.rival.add_address()
        life.rival.add_pair("192.0.2.7")
        life.rival.add_tag("somebody-else")
        life.run(*(life.job("add", life.new_container()) for _ in range(rng.choice((0, 2)))))
        if warm:
            life.sweep()
        yield life


def run(zygote: Zygote, mode: Mode, rng: random.Random, kills: int, warm: int = 0) -> Tally:
    """At least so many kills in one mode, two thirds of them systematic."""
    tally = Tally(mode, warm)
    systematic(zygote, mode, rng, kills * 2 // 3, tally)
    chaotic(zygote, mode, rng, kills, tally)
    return tally


def systematic(zygote: Zygote, mode: Mode, rng: random.Random, kills: int, tally: Tally) -> None:
    """`kills` of them, first at the lines where the world changes, then at others."""
    marks: list[tuple[str, int]] = []
    lines: list[tuple[str, int]] = []
    for name, act in ACTS.items():
        with new_life(zygote, mode, rng, tally.warm) as life:
            outcome = act(life, 0, True)
            tally.note(name, life, life.end())
        marks += [(name, mark) for mark in outcome.marks]
        lines += [(name, n) for n in range(1, outcome.lines, max(1, outcome.lines // SPREAD))]
    rng.shuffle(marks)
    rng.shuffle(lines)
    plans = lines + marks
    tally.points = len(marks)
    while tally.kills < kills and plans:
        name, line = plans.pop()
        with new_life(zygote, mode, rng, tally.warm) as life:
            outcome = ACTS[name](life, line, False)
            tally.visited += outcome.killed and len(plans) >= len(lines)
            tally.note(name, life, _go_on(life))


def chaotic(zygote: Zygote, mode: Mode, rng: random.Random, kills: int, tally: Tally) -> None:
    """Until `kills` have died: whole lives in which one thing after the other is interrupted."""
    while tally.kills < kills:
        with new_life(zygote, mode, rng, tally.warm) as life:
            for _ in range(rng.randrange(3, 8)):
                rng.choice(TURNS)(life)
            tally.note("several", life, _go_on(life))


def _some_line(life: Life) -> int:
    return life.rng.randrange(1, 2200)


def _room(life: Life) -> int:
    return MAX_CONTAINERS - len(life.containers) - len(life.pending)


def _turn_add(life: Life) -> None:
    if _room(life) > 0:
        life.add(kill_at=_some_line(life))


def _turn_add_again(life: Life) -> None:
    asked = [name for name, what in life.pending.items() if what == "add"]
    if asked:
        life.add(life.rng.choice(asked), kill_at=life.rng.choice((0, _some_line(life))))


def _turn_delete(life: Life) -> None:
    names = [*life.containers, *life.pending]
    if names:
        kill_at = life.rng.choice((0, life.rng.randrange(1, 270)))
        life.delete(life.rng.choice(names), kill_at=kill_at, kernel_first=life.rng.random() < 0.5)


def _turn_sweep(life: Life) -> None:
    life.pass_time(life.rng.choice((1.0, QUARANTINE, 121.0)))
    life.sweep(kill_at=_some_line(life))


def _turn_group(life: Life) -> None:
    """Five at once; the one who probably leads dies."""
    jobs = [
        life.job("add", life.new_container(), delay=0.004 * number, kill_at=0)
        for number in range(max(2, _room(life)))
    ]
    jobs[0].kill_at = _some_line(life)
    life.run(*jobs)


def _turn_under_way(life: Life) -> None:
    """The process dies while Neutron works on its request, which is carried out all the same."""
    request = life.add_killed_at(f"({CHANGES}) {WHERE}", skip=life.rng.randrange(3))
    # While others may be at work; at the latest when time passes.
    late = threading.Timer(life.rng.uniform(0, UNDER_WAY), request.arrive)
    late.daemon = True
    late.start()


def _turn_lost_answer(life: Life) -> None:
    """The answer to a change is lost, and then the process dies."""
    drop = life.rng.choice(("before", "after"))
    fault = Fault(CHANGES, WHERE, skip=life.rng.randrange(3), drop=drop)  # type: ignore[arg-type]
    life.scene.neutron.faults.add(fault)
    life.add(kill_at=_some_line(life))
    life.scene.neutron.faults.clear()


def _turn_rival(life: Life) -> None:
    rng = life.rng
    rng.choice(
        (life.rival.add_address, life.rival.remove_address, life.rival.edit, life.rival.remove_pair)
    )()
    life.story.append("the rival edits the port")


def _turn_reboot(life: Life) -> None:
    life.reboot()


TURNS = (
    _turn_add,
    _turn_add,
    _turn_add_again,
    _turn_delete,
    _turn_delete,
    _turn_sweep,
    _turn_group,
    _turn_group,
    _turn_under_way,
    _turn_lost_answer,
    _turn_rival,
    _turn_reboot,
)


def _go_on(life: Life) -> list[str]:
    """What a runtime might do next, and then the end: the leaks."""
    choice = life.rng.randrange(4)
    if choice == 0:
        for name in [name for name, what in life.pending.items() if what == "add"]:
            outcome = life.add(name)
            if not outcome.ok:
                life.wrong.append(f"the repeated ADD of {name} failed: {outcome.error}")
    elif choice == 1:
        for name in list(life.pending):
            if not life.delete(name).ok:
                life.wrong.append(f"the repeated DEL of {name} failed")
    elif choice == 2:
        life.reboot()
    if life.store_lost:
        life.reconcile()
    for name in life.containers:
        differing = life.check(name)
        if not differing.ok or differing.differences:
            life.wrong.append(f"CHECK of {name}: {differing.error}{differing.differences}")
    if choice == 3:
        # Nothing is asked for again: GC alone has to find everything.
        for name in life.containers:
            life.delete(name)
        return life.come_to_rest()
    return life.end()

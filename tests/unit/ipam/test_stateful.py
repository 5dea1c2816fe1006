"""Any sequence of what can happen to a node, in every mode: store, Neutron and kernel stay one.

Hypothesis chooses what happens next: calls of a runtime, deaths of processes, failures of Neutron,
rivals on the same port, a lost store, a reboot. After every step no two live containers share an
address, none lacks its own, and rivals have what they had; at the end nothing is left of anybody.
`NEUTRON_CNI_LIVES` sets their number for each mode; few are always the same ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.fakes.faults import Drop
from tests.reliability.life import Life
from tests.reliability.scene import Scene
from tests.reliability.zygote import Zygote

LIVES = int(os.environ.get("NEUTRON_CNI_LIVES", "4"))
STEPS = 25
MOST = 6
"""Containers that live at once: with those that rest they fit into the ten pairs of a port."""
CHANGES = "PUT|POST|DELETE"
LINES = st.integers(1, 2400)
NUMBERS = st.integers(0, 59)
PATHS = st.sampled_from(["/ports$", "/ports/[^/]+$", "/tags", "/networks", "/subnets"])

FAULTS = st.one_of(
    st.builds(
        Fault,
        method=st.sampled_from(["GET", CHANGES, ".*"]),
        path=PATHS,
        times=st.sampled_from([1, 2, 30]),
        skip=st.integers(0, 3),
        status=st.sampled_from([429, 500, 503, 504]),
    ),
    st.builds(
        Fault,
        method=st.just(CHANGES),
        path=PATHS,
        times=st.sampled_from([1, 2]),
        skip=st.integers(0, 3),
        drop=st.sampled_from(list(Drop)),
    ),
)


class Node(RuleBasedStateMachine):
    """One node's life. The subclass says in which mode."""

    mode: ClassVar[Mode]
    zygote: ClassVar[Zygote]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.suspect = False

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        folder = Path(self.stack.enter_context(TemporaryDirectory(prefix="ncni-node-")))
        scene = self.stack.enter_context(Scene(folder, ("10.9.0.0/27",), seed))
        self.life = Life(scene, self.zygote, self.mode, random.Random(seed))
        self.life.rival.add_tag("somebody-else")

    def teardown(self) -> None:
        if hasattr(self, "life"):
            life = self.life
            try:
                left = life.end()
                assert not left + life.wrong, "\n".join([*life.story, *life.wrong, *left])
            finally:
                self.stack.close()

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "life"):
            assert not self.life.wrong, "\n".join([*self.life.story, *self.life.wrong])

    # What can be done is decided here, not by preconditions and choices: what Hypothesis draws must
    # not depend on what processes and clocks did.

    def may_add(self) -> bool:
        return len(self.life.containers) < MOST

    def one_of(self, names: Iterable[str], number: int) -> str:
        """Any of them, by a number; empty where there is none."""
        ordered = sorted(names)
        return ordered[number % len(ordered)] if ordered else ""

    # What a runtime does

    @rule()
    def add(self) -> None:
        if not self.may_add():
            return
        outcome = self.life.add()
        suspect, self.suspect = self.suspect, False
        if outcome.code == Code.EXHAUSTED:
            return
        assert outcome.ok or suspect, "\n".join([*self.life.story, "an ADD failed for no reason"])

    @rule(number=NUMBERS)
    def add_once_more(self, number: int) -> None:
        container = self.one_of(self.life.containers, number)
        if container and not self.life.store_lost:
            assert self.life.add(container).ok

    @rule(number=NUMBERS, kill_at=st.one_of(st.just(0), LINES))
    def take_up(self, number: int, kill_at: int) -> None:
        container = self.one_of(self.life.pending, number)
        if self.life.pending.get(container) == "del":
            self.life.delete(container, kill_at=kill_at // 9)
        elif container:
            self.life.add(container, kill_at=kill_at)

    @rule(number=NUMBERS, kernel_first=st.booleans())
    def delete(self, number: int, kernel_first: bool) -> None:
        container = self.one_of(self.life.containers, number)
        if not container:
            return
        outcome = self.life.delete(container, kernel_first=kernel_first)
        assert outcome.ok or self.suspect, outcome.error

    @rule()
    def delete_unknown(self) -> None:
        assert self.life.delete("nobody").ok or self.suspect

    @rule(number=NUMBERS)
    def check(self, number: int) -> None:
        container = self.one_of(self.life.containers, number)
        if not container:
            return
        if self.life.store_lost:
            self.life.reconcile()
        outcome = self.life.check(container)
        assert outcome.ok or self.suspect, outcome.error
        assert not outcome.differences or self.life.store_lost, outcome.differences

    @rule(kill_at=st.one_of(st.just(0), st.integers(1, 400)))
    def collect(self, kill_at: int) -> None:
        self.life.collect(kill_at=kill_at)

    @rule(kill_at=st.one_of(st.just(0), LINES))
    def sweep(self, kill_at: int) -> None:
        self.life.sweep(kill_at=kill_at)

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0, 121.0]))
    def pass_time(self, seconds: float) -> None:
        self.life.pass_time(seconds)

    # What goes wrong

    @rule(kill_at=LINES)
    def die_in_add(self, kill_at: int) -> None:
        if self.may_add():
            self.life.add(kill_at=kill_at)

    @rule(kill_at=st.integers(1, 270))
    def die_in_delete(self, kill_at: int) -> None:
        if self.life.containers:
            self.life.delete(self.life.containers[0], kill_at=kill_at)

    @rule(kill_at=st.one_of(st.just(0), LINES), number=st.integers(2, 4))
    def several_at_once(self, kill_at: int, number: int) -> None:
        if not self.may_add():
            return
        jobs = [self.life.job("add", self.life.new_container()) for _ in range(number)]
        jobs[0].kill_at = kill_at
        if self.life.containers:
            jobs.append(self.life.job("del", self.life.containers[0]))
        self.life.run(*jobs)

    @rule(fault=FAULTS, kill_at=st.one_of(st.just(0), st.just(0), LINES))
    def neutron_fails(self, fault: Fault, kill_at: int) -> None:
        if not self.may_add():
            return
        self.life.story.append(f"{fault}")
        self.life.scene.neutron.faults.add(fault)
        self.life.add(kill_at=kill_at)
        self.life.sweep()
        self.life.scene.neutron.faults.clear()

    @rule(every=st.integers(1, 3))
    def rival_storm(self, every: int) -> None:
        if not self.may_add():
            return
        self.life.scene.neutron.faults.rival_every(every)
        self.life.add()
        self.life.scene.neutron.faults.clear()

    @rule()
    def neutron_is_away(self) -> None:
        if not self.may_add():
            return
        self.life.story.append("Neutron is away")
        self.life.scene.neutron.stop()
        assert self.life.add().code == Code.TRY_AGAIN or self.suspect
        if self.life.containers:
            assert self.life.delete(self.life.containers[0]).ok or self.suspect
        self.life.sweep()
        self.life.scene.neutron.resume()

    @rule(what=st.sampled_from(["add", "add", "remove", "pair", "unpair", "edit"]))
    def rival(self, what: str) -> None:
        rival = self.life.rival
        self.life.story.append(f"rival: {what}")
        if what == "pair" and len(rival.pairs) < 2:
            rival.add_pair(f"192.0.2.{self.life.rng.randrange(9)}")
        elif what == "add" and len(rival.addresses) < 4:
            rival.add_address()
        else:
            {"remove": rival.remove_address, "unpair": rival.remove_pair}.get(what, rival.edit)()

    @rule(how=st.sampled_from(["deleted", "overwritten"]))
    def lose_store(self, how: str) -> None:
        if how == "deleted" or not self.life.host.store_file.exists():
            self.life.lose_store()
            return
        self.life.story.append("the store is overwritten")
        self.life.store_lost = self.suspect = True
        with self.life.host.store_file.open("r+b") as file:
            file.seek(self.life.rng.randrange(9000))
            file.write(b"\x55" * 9000)

    @rule()
    def reboot(self) -> None:
        self.life.reboot()


@pytest.mark.parametrize("mode", list(Mode))
def test_whatever_happens_nothing_leaks_and_nobody_shares(zygote: Zygote, mode: Mode) -> None:
    machine = type(f"Node{mode.name}", (Node,), {"mode": mode, "zygote": zygote})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=LIVES <= 10,
            # The story that a failure prints says more than a shorter one would, minutes later.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )

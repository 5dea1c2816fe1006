"""How claims are spread over tags: that none is ever without one.

The steps of two processes are interleaved in every way: one stops before any of its calls (for
ever, as after a kill, or until the other is done); after each call every live claim must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from neutron_cni.ipam.claim import Claim, claims_in, tags_of_several
from neutron_cni.ipam.modes import claim_tags
from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.types import Port
from tests.unit.ipam.claims.made import INSTALL, claim, claims


class Stopped(Exception):
    """The process was killed before this call."""


@dataclass
class Tagged:
    """A port's tags in Neutron, and what must always be among its claims."""

    tags: set[str] = field(default_factory=set)
    live: frozenset[Claim] = frozenset()
    calls: int = 0

    def port(self) -> Port:
        raw: dict[str, Any] = {"id": "vm", "network_id": "n", "fixed_ips": [], "tags": []}
        return replace(Port.from_json(raw), tags=frozenset(self.tags))

    def check(self) -> None:
        assert self.live <= claims_in(self.tags), "a claim of a live address is gone"


class Process:
    """One process at the port: `before` is called before its n-th call with n."""

    def __init__(self, neutron: Tagged, seed: int, before: Callable[[int], None]) -> None:
        self.neutron = neutron
        self.before = before
        self.calls = 0
        self.context = cast(
            Context, SimpleNamespace(neutron=self, install=INSTALL, random=Random(seed))
        )

    def longest_tag(self) -> int:
        return 255

    def add_tags(self, port_id: str, tags: Iterable[str]) -> None:
        self._step()
        self.neutron.tags |= set(tags)
        self.neutron.check()

    def remove_tag(self, port_id: str, tag: str) -> None:
        self._step()
        self.neutron.tags.discard(tag)
        self.neutron.check()

    def _step(self) -> None:
        self.before(self.calls)
        self.calls += 1


@dataclass
class Interference:
    """Another process does all of its own before the first one's call number `moment`."""

    neutron: Tagged
    moment: int
    act: Callable[[Process, Port], None]
    happened: bool = False

    def __call__(self, number: int) -> None:
        if number == self.moment:
            self.happened = True
            self.act(Process(self.neutron, 2, lambda number: None), self.neutron.port())


def write(*numbers: int) -> Callable[[Process, Port], None]:
    return lambda process, port: cast(
        None, claim_tags.write(process.context, port, claims(*numbers))
    )


def withdraw(*numbers: int) -> Callable[[Process, Port], None]:
    return lambda process, port: cast(
        None, claim_tags.withdraw(process.context, port, claims(*numbers))
    )


SINGLE = {claim(n).tag for n in range(8)}
MIXED = {
    *{claim(n).tag for n in range(3)},
    *tags_of_several(claims(2, 3, 4, 5), 255, "aaaa"),  # 2 twice: somebody was killed in between
    *tags_of_several(claims(6, 7), 255, "bbbb"),
    Claim(ip_address("10.1.1.1"), "another", "01234567").tag,
    "somebody-else",
}
ACTS = {
    "write": write(20, 21),
    "write one": write(22),
    "withdraw of several": withdraw(2, 4, 6),
    "withdraw of a whole tag": withdraw(6, 7),
    "withdraw of one": withdraw(3),
}


@pytest.fixture(autouse=True)
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port of these tests has more tags than that."""
    monkeypatch.setattr(claim_tags, "FEW_TAGS", 2)


def leaving(act: str) -> frozenset[Claim]:
    gone = {"withdraw of several": (2, 4, 6), "withdraw of a whole tag": (6, 7)}
    return claims(*gone.get(act, (3,) if act.startswith("withdraw") else ()))


@pytest.mark.parametrize("tags", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize("act", list(ACTS))
def test_a_kill_before_any_call_leaves_no_live_claim_without_a_tag(
    tags: set[str], act: str
) -> None:
    for stop in range(40):
        neutron = Tagged(set(tags), claims(*range(8)) - leaving(act))

        def die(number: int, at: int = stop) -> None:
            if number == at:
                raise Stopped

        try:
            ACTS[act](Process(neutron, 1, die), neutron.port())
        except Stopped:
            killed = True
        else:
            killed = False
        # The next process does it again, and then it is done.
        ACTS[act](Process(neutron, 2, lambda number: None), neutron.port())
        assert not leaving(act) & claims_in(neutron.tags)
        assert {"somebody-else"} & tags <= neutron.tags
        if not killed:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("tags", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize("second", list(ACTS))
@pytest.mark.parametrize("first", list(ACTS))
def test_two_processes_at_once_leave_no_live_claim_without_a_tag(
    tags: set[str], first: str, second: str
) -> None:
    """Two queues of one installation: the second acts before any call of the first, in whole."""
    for moment in range(40):
        neutron = Tagged(set(tags), claims(*range(8)) - leaving(first) - leaving(second))
        interference = Interference(neutron, moment, ACTS[second])
        ACTS[first](Process(neutron, 1, interference), neutron.port())
        if not interference.happened:
            return
    raise AssertionError("it never ends")


def test_a_tag_that_is_about_to_go_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One has folded it and not yet taken it off, the other withdraws what was added to it."""
    neutron = Tagged(set(tags_of_several(claims(0, 1), 255, "aaaa")), claims(0, 1))
    monkeypatch.setattr(claim_tags, "FEW_TAGS", 0)
    serials = iter(["bbb0", "bbb1", "aaaa", "cccc"])
    monkeypatch.setattr(Random, "choices", lambda *about, **more: next(serials))
    interference = Interference(neutron, 1, withdraw(2))
    write(2)(Process(neutron, 1, interference), neutron.port())
    assert interference.happened
    # (2) is stale: the first one has written it and the other withdrawn it since; see `settle`.
    assert claims(0, 1) <= claims_in(neutron.tags)


def test_a_claim_that_two_tags_hold_is_withdrawn_from_both() -> None:
    neutron = Tagged(set(MIXED), claims(0, 1, 3, 4, 5, 6, 7))
    withdraw(2)(Process(neutron, 1, lambda number: None), neutron.port())
    assert claim(2) not in claims_in(neutron.tags)


def test_what_is_written_when_there_is_little_room_takes_less_room_than_before() -> None:
    neutron = Tagged({claim(n).tag for n in range(48)}, claims(*range(48)))
    for number in range(48, 90):
        write(number)(Process(neutron, number, lambda number: None), neutron.port())
        assert claim(number) in claims_in(neutron.tags)
    assert len(neutron.tags) <= 12


def test_a_port_with_few_tags_has_one_for_each_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_tags, "FEW_TAGS", 30)
    neutron = Tagged()
    process = Process(neutron, 1, lambda number: None)
    write(1, 2, 3)(process, neutron.port())
    assert neutron.tags == {claim(n).tag for n in (1, 2, 3)}
    assert process.calls == 1

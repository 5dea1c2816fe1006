"""Claims in tags: how they are written and read, and that none is ever without a tag.

The steps of two processes are interleaved in every way: one stops before any of its calls (for
ever, as after a kill, or until the other is done); after each call every live claim must be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from neutron_cni.ipam.claim import Claim, claims_in, claims_of, holds_several, tags_of_several
from neutron_cni.ipam.modes import claim_tags
from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.types import Port
from neutron_cni.store import State
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.reliability.life import QUARANTINE, Life
from tests.unit.conftest import LifeMaker

INSTALL = "5844f7"
FULL_OF_TAGS = json.dumps(
    {
        "NeutronError": {
            "type": "BadRequest",
            "message": "Bad ports request: The number of tags exceed the per-resource limit of 50.",
            "detail": "",
        }
    }
)
LONGEST_ADDRESS = "fd00:1111:2222:3333:4444:5555:6666:7777"


def claim(number: int, install: str = INSTALL) -> Claim:
    return Claim(ip_address("10.100.100.100") + number, install, f"{number:08x}")


def claims(*numbers: int) -> frozenset[Claim]:
    return frozenset(map(claim, numbers))


# How they are written


def test_a_claim_of_its_own_is_as_it_always_was() -> None:
    tag = "ncni:10.10.4.156:5844f7:38dff9a8"
    assert claims_of(tag) == {Claim(ip_address("10.10.4.156"), "5844f7", "38dff9a8")}
    assert Claim(ip_address("10.10.4.156"), "5844f7", "38dff9a8").tag == tag


def test_a_tag_of_several_reads_back_as_them() -> None:
    many = [*claims(*range(5)), Claim(ip_address("fd00::5"), INSTALL, "38dff9a8")]
    (tag,) = tags_of_several(many, 255, "a1b2")
    assert tag.startswith("ncni2:5844f7:a1b2:10.100.100.100=00000000_")
    assert claims_of(tag) == set(many)
    assert holds_several(tag)


def test_fifty_tags_hold_five_hundred_pods() -> None:
    many = [Claim(ip_address("10.10.0.0") + 7 * n, INSTALL, f"{n:08x}") for n in range(500)]
    tags = tags_of_several(many, 255, "a1b2")
    assert len(tags) <= 50
    assert max(map(len, tags)) <= 255
    assert claims_in(tags) == set(many)


@pytest.mark.parametrize("longest", [60, 255])
def test_no_tag_is_longer_than_it_may_be(longest: int) -> None:
    many = [*claims(*range(30)), Claim(ip_address(LONGEST_ADDRESS), INSTALL, "38dff9a8")]
    tags = tags_of_several(many, longest, "a1b2")
    assert max(map(len, tags)) <= longest
    assert claims_in(tags) == set(many)


@pytest.mark.parametrize(
    "tag",
    [
        "ncni",
        "ncni2",
        "ncni:",
        "ncni2:5844f7",
        "ncni2:5844f7:a1b2:",
        "ncni2:5844f7:a1b2:_=_",
        "ncni2::a1b2:10.0.0.5=38dff9a8",
        "ncni3:5844f7:a1b2:10.0.0.5=38dff9a8",
        "ncni-node=node1",
        "ncni:nonsense:5844f7:38dff9a8",
    ],
)
def test_what_is_no_claim_is_passed_over(tag: str) -> None:
    assert claims_of(tag) == frozenset()


def test_of_a_tag_that_somebody_edited_the_claims_that_can_be_read_count() -> None:
    tag = "ncni2:5844f7:a1b2:10.0.0.5=38dff9a8_10.0.0=1_10.0.0.6=_10.0.0.7=38dff9a9"
    assert {str(item.address) for item in claims_of(tag)} == {"10.0.0.5", "10.0.0.7"}


# How they are spread over tags


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


# In a life


@pytest.fixture
def strict(new_life: LifeMaker) -> Life:
    """In a cloud that counts all tags whenever some are added."""
    life = new_life()
    life.scene.neutron.cloud.counts_all_tags = True
    return life


def test_more_pods_than_a_port_may_have_tags(new_life: LifeMaker) -> None:
    life = new_life(Mode.FIXED_IPS, "10.9.0.0/24")
    life.scene.neutron.cloud.counts_all_tags = True
    for _ in range(4):
        jobs = [life.job("add", life.new_container()) for _ in range(15)]
        assert [o.error for o in life.run(*jobs) if not o.ok] == []
    tags = life.scene.port(life.host.port_id)["tags"]
    assert len(tags) <= 40
    # Somebody else puts his list of tags there.
    life.scene.call("PUT", f"/ports/{life.host.port_id}/tags", {"tags": [*tags, "theirs"]})
    life.rival.tags.add("theirs")
    life.run(*(life.job("del", name) for name in life.containers[::2]))
    life.pass_time(QUARANTINE + 1)
    life.sweep()
    assert life.end() == []


def test_where_others_left_no_room_for_a_tag_the_limit_is_named(strict: Life) -> None:
    for number in range(50):
        strict.rival.add_tag(f"theirs-{number}")
    outcome = strict.add()
    assert outcome.code == Code.EXHAUSTED
    assert "per-resource limit of 50" in outcome.error
    assert strict.end() == []


def test_what_leaves_a_port_that_is_full_of_tags_makes_room_there(new_life: LifeMaker) -> None:
    """Others filled it up after our pods came, whose claims share tags."""
    life = new_life(Mode.FIXED_IPS, "10.9.0.0/24")
    life.scene.neutron.cloud.counts_all_tags = True
    for number in range(29):
        life.rival.add_tag(f"theirs-{number}")
    for _ in range(3):
        life.run(*(life.job("add", life.new_container()) for _ in range(10)))
    tags = life.scene.port(life.host.port_id)["tags"]
    assert any(len(claims_of(tag)) > 1 for tag in tags)
    for number in range(50 - len(tags)):
        life.rival.add_tag(f"more-{number}")
    (kept, *gone) = life.containers
    for name in gone:
        life.delete(name)
    for _ in range(3):
        life.pass_time(QUARANTINE + LATE_ANSWER_SECONDS)
        life.sweep()
    assert [(r.attachment.container_id, r.state) for r in life.host.records()] == [
        (kept, State.HELD)
    ]
    assert len(claims_in(life.scene.port(life.host.port_id)["tags"])) == 1
    assert life.end() == []


def test_of_claims_that_leave_a_full_port_only_those_that_share_a_tag_wait(strict: Life) -> None:
    """A shared tag needs room for its successor; who has a tag alone does not wait for that."""
    strict.run(*(strict.job("add", strict.new_container()) for _ in range(3)))
    port_id = strict.host.port_id
    first, second, alone = sorted(
        claims_in(strict.scene.port(port_id)["tags"]), key=lambda item: item.tag
    )
    (shared,) = tags_of_several([first, second], 255, "aaaa")
    strict.scene.call("PUT", f"/ports/{port_id}/tags", {"tags": [shared, alone.tag]})
    tokens = {second.token, alone.token}
    strict.scene.neutron.faults.add(
        Fault("POST", f"/ports/{port_id}/tags", status=400, body=FULL_OF_TAGS, times=FOREVER)
    )
    for record in strict.host.records():
        if record.token in tokens:
            strict.delete(record.attachment.container_id)
    for _ in range(3):
        strict.pass_time(QUARANTINE + LATE_ANSWER_SECONDS)
        strict.sweep()
    states = [record.state for record in strict.host.records()]
    assert sorted(states) == [State.HELD, State.RELEASED]
    assert strict.scene.port(port_id)["tags"] == [shared]
    strict.scene.neutron.faults.clear()
    assert strict.end() == []


def test_where_there_is_room_for_one_pod_only_one_gets_it(strict: Life) -> None:
    for number in range(49):
        strict.rival.add_tag(f"theirs-{number}")
    outcomes = strict.run(*(strict.job("add", strict.new_container()) for _ in range(3)))
    assert [outcome.code for outcome in outcomes if not outcome.ok] in (
        [],
        [Code.EXHAUSTED],
        [Code.EXHAUSTED] * 2,
    )
    assert any(outcome.ok for outcome in outcomes)
    assert strict.end() == []


def test_claims_of_before_are_read_on_where_new_ones_share_a_tag(new_life: LifeMaker) -> None:
    life = new_life()
    assert life.add().ok
    (before,) = life.scene.port(life.host.port_id)["tags"]
    for number in range(3):
        life.rival.add_tag(f"theirs-{number}")
    life.run(*(life.job("add", life.new_container()) for _ in range(3)))
    tags = life.scene.port(life.host.port_id)["tags"]
    assert claims_of(before) <= claims_in(tags)
    life.lose_store()
    assert life.add().ok
    assert [record.state for record in life.host.records()] == [State.HELD] * 5
    assert life.end() == []

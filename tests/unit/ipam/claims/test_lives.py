"""Claims in a node's life: ports that are full of tags, and tags of earlier versions."""

from __future__ import annotations

import json

import pytest

from neutron_cni.ipam.claim import claims_in, claims_of, tags_of_several
from neutron_cni.store import State
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.reliability.life import QUARANTINE, Life
from tests.unit.conftest import LifeMaker

FULL_OF_TAGS = json.dumps(
    {
        "NeutronError": {
            "type": "BadRequest",
            "message": "Bad ports request: The number of tags exceed the per-resource limit of 50.",
            "detail": "",
        }
    }
)


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

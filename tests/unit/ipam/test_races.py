"""Things that happen at the worst moment: a DEL, a rival, an error between two steps of an ADD.

`life.at` does something just before the fake serves a request, so while a process is between two
steps; the product has no hooks for it.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from ipaddress import ip_address
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from neutron_cni.store import State
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.fakes.api import Request
from tests.fakes.faults import Drop
from tests.reliability.life import Life
from tests.reliability.namespaces import configure
from tests.reliability.scene import Host, addresses_on
from tests.reliability.zygote import Zygote
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
STEPS = [
    "GET /ports/",
    "GET /networks",
    "GET /subnets",
    "GET /ports$",
    "POST .*/tags",
    "PUT /ports",
    "POST /ports$",
]


def delete_now(life: Life, container: str) -> None:
    """A DEL, as its process would do it, while another is at work."""
    with life.host.store() as store:
        for record in store.all():
            if record.attachment.container_id == container:
                store.release(record.id, record.config.quarantine)


def chosen(life: Life) -> IPAddress:
    """The address that the one ADD at work has written down."""
    (record,) = [r for r in life.host.records() if r.state is State.INTENDED]
    return record.addresses[0].address


@ALL_MODES
@pytest.mark.parametrize("moment", STEPS)
def test_a_del_while_the_add_runs_leaves_nothing(
    new_life: LifeMaker, mode: Mode, moment: str
) -> None:
    life = new_life(mode)
    container = life.new_container()
    life.at(moment, lambda: delete_now(life, container))
    outcome = life.add(container)
    if life.happened:
        assert outcome.code == Code.TRY_AGAIN
        # Nothing else comes for this container: a runtime that deleted it is done with it.
        life.pending.clear()
    assert life.end() == []


def test_a_rivals_address_that_we_had_chosen_stays_his(new_life: LifeMaker) -> None:
    """He adds it after we chose it and before we claim it."""
    life = new_life()
    life.at("POST .*/tags", lambda: life.rival.add_address(chosen(life)))
    assert life.add().ok
    assert life.rival.addresses
    assert life.end() == []


def test_a_rivals_address_that_we_had_claimed_stays_his(new_life: LifeMaker) -> None:
    """He knows nothing of claims and adds it, and another, just before our update: 412.

    (If it is the only one that he adds, Neutron finds nothing to change and says 200 to us too:
    docs/reliability.md, "What can't be excluded".)
    """
    life = new_life()

    def act() -> None:
        life.rival.add_address(chosen(life))
        life.rival.add_address()

    life.at("PUT /ports", act)
    assert life.add().ok
    assert len(life.rival.addresses) == 2
    assert life.end() == []


def test_a_rivals_address_that_a_deleted_add_had_only_chosen_stays_his(new_life: LifeMaker) -> None:
    """Chosen, not yet claimed; then killed, and deleted. What is on the port is not ours."""
    life = new_life()
    container = life.new_container()
    claim = life.add_killed_at(
        "POST .*/tags", container, lambda: life.rival.add_address(chosen(life))
    )
    claim.lose()
    life.delete(container)
    assert life.rival.addresses
    assert life.end() == []


def test_two_queues_of_one_port_never_share_an_address(new_life: LifeMaker) -> None:
    """Two networks reach the same cloud by different files, so they have two queues and locks."""
    life = new_life()
    other = other_queue(life)
    for address in life.scene.free()[:8]:
        wanted = [str(address)]
        first, second = life.new_container(), life.new_container()
        one, two = life.run(
            life.job("add", first, requested=wanted),
            life.host.job("add", other, second, requested=wanted),
        )
        assert sorted([one.addresses, two.addresses]) in ([[], []], [[], wanted])
    assert life.end() == []


def test_a_queue_leaves_another_queues_half_done_address_alone(new_life: LifeMaker) -> None:
    """It is on the port with our claim, and no namespace has it yet: it is not lost for that."""
    life = new_life()
    other = other_queue(life)
    first, second = life.new_container(), life.new_container()
    one = life.add(first)
    assert one.ok
    # As it is between the update of the port and the main plugin's work.
    configure(life.host.namespaces.path(first), ())
    two = life.run(life.host.job("add", other, second))[0]
    assert two.ok
    configure(life.host.namespaces.path(first), [ip_address(one.addresses[0])])
    life.pass_time(31)
    life.sweep()
    life.wrong = [item for item in life.wrong if "in its namespace" not in item]
    life.look()
    assert life.end() == []


def test_two_installations_never_get_one_address(new_life: LifeMaker, zygote: Zygote) -> None:
    """Both have chosen it before either has claimed it. Neutron would let both have it."""
    life = new_life()
    other = Host(life.scene, "other", life.host.port_id, life.host.namespaces)
    for address in life.scene.free()[:5]:
        meet_before_claiming(life)
        wanted = [str(address)]
        one, two = zygote.run(
            life.job("add", life.new_container(), requested=wanted),
            other.job("add", other.config(Mode.FIXED_IPS), f"o{address}", requested=wanted),
        )
        assert sorted([one.addresses, two.addresses]) in ([[], []], [[], wanted])


def meet_before_claiming(life: Life) -> None:
    """The next two requests that write tags wait for one another."""
    barrier = Barrier(2, timeout=25)

    def before(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/tags") and not barrier.broken:
            with suppress(BrokenBarrierError):
                barrier.wait()
            barrier.abort()

    life.scene.neutron.before = before


@ALL_MODES
def test_a_change_that_arrives_after_its_del_is_undone(new_life: LifeMaker, mode: Mode) -> None:
    """Neutron works on it while the process is killed, the DEL comes and the sweeper looks."""
    life = new_life(mode)
    container = life.new_container()
    change = "PUT /ports/" if mode is Mode.FIXED_IPS else "POST /ports$"
    late = life.add_killed_at(change, container)
    assert late.came
    assert life.delete(container).ok
    life.sweep()
    late.arrive()
    assert life.end() == []


def other_queue(life: Life) -> dict[str, Any]:
    """A configuration of the same port that has another anchor."""
    copy = life.scene.folder / "other.yaml"
    shutil.copy(life.scene.clouds_file, copy)
    return {**life.config, "cloudsFile": str(copy)}


def test_two_networks_of_one_port_keep_to_their_own_subnets(new_life: LifeMaker) -> None:
    """Requests of both wait in one queue and are served together."""
    life = new_life(Mode.FIXED_IPS, "10.9.0.0/26", "10.9.1.0/26")
    jobs = []
    for number in range(6):
        config = {**life.config, "subnets": [f"10.9.{number % 2}.0/26"]}
        container = life.new_container()
        jobs.append(life.host.job("add", config, container, network=f"net{number % 2}"))
    outcomes = life.run(*jobs)
    assert [o.addresses[0].split(".")[2] for o in outcomes] == ["0", "1"] * 3


def test_a_wrong_subnet_name_fails_only_those_who_named_it(new_life: LifeMaker) -> None:
    life = new_life()
    wrong = {**life.config, "subnets": ["no-such-subnet"]}
    jobs = [life.job("add", life.new_container()) for _ in range(4)]
    jobs.append(life.host.job("add", wrong, life.new_container(), network="other"))
    outcomes = life.run(*jobs)
    assert [outcome.code for outcome in outcomes] == [0, 0, 0, 0, Code.NOT_FOUND]
    assert life.end() == []


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_port_that_could_not_be_tagged_is_not_lost(
    new_life: LifeMaker, mode: Mode, status: int
) -> None:
    """It was made, and the tags were refused: that is no `nothing was done`."""
    life = new_life(mode)
    life.scene.neutron.faults.add(Fault("POST", "/tags", status=status, times=20))
    life.add()
    life.scene.neutron.faults.clear()
    life.pending.clear()
    assert life.end() == []


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
def test_a_port_that_was_made_while_neutron_went_away_is_not_lost(
    new_life: LifeMaker, mode: Mode
) -> None:
    """The answer is lost, and then nobody can be asked what became of it."""
    life = new_life(mode)
    life.scene.neutron.faults.add(
        Fault("POST", "/ports$", drop=Drop.AFTER),
        Fault("GET", "/ports$", skip=2, status=503, times=20),
    )
    assert not life.add().ok
    life.scene.neutron.faults.clear()
    life.pending.clear()
    assert life.scene.reserves()
    assert life.end() == []


def test_of_a_pair_that_was_there_before_us_nobody_gets_the_address(new_life: LifeMaker) -> None:
    """An operator's virtual address: a pair without a port, so Neutron thinks that it is free."""
    life = new_life(Mode.ADDRESS_PAIRS, "10.9.0.0/28")
    for address in life.scene.free()[:4]:
        life.rival.add_pair(str(address))
    given = {life.add().addresses[0] for _ in range(4)}
    assert not given & life.rival.pairs
    assert life.end() == []


def test_an_address_whose_reserving_port_is_gone_is_not_used(new_life: LifeMaker) -> None:
    """Killed after the port was made and written down; then somebody deletes the port."""
    life = new_life(Mode.ADDRESS_PAIRS)
    container = life.new_container()
    life.add_killed_at("PUT /ports", container).lose()
    (port,) = life.scene.reserves()
    life.scene.call("DELETE", f"/ports/{port['id']}")
    outcome = life.add(container)
    assert outcome.ok
    assert {str(a) for p in life.scene.reserves() for a in addresses_on(p)} == set(
        outcome.addresses
    )
    assert life.end() == []

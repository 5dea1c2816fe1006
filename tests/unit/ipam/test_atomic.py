"""Many processes at once: on one node, on two, on one port of two installations."""

from __future__ import annotations

import random
from ipaddress import ip_address
from pathlib import Path

import pytest

from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.reliability.invariants import broken, leaks, trespasses
from tests.reliability.life import QUARANTINE
from tests.reliability.scene import Host, Rival, Scene, addresses_on
from tests.reliability.zygote import Zygote
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
CROWD = 50
PAIRS = 10
"""Neutron's default limit of address pairs."""


@ALL_MODES
def test_fifty_at_once_on_a_new_node(new_life: LifeMaker, mode: Mode) -> None:
    """There is not even a store yet: they all make it."""
    life = new_life(mode, "10.9.0.0/24")
    number = PAIRS if mode is Mode.ADDRESS_PAIRS else CROWD
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(number)))
    assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    assert len({outcome.addresses[0] for outcome in outcomes}) == number
    if mode is not Mode.PORT:
        # Grouped; into how few depends on how fast they come (`./bench burst-cold` counts it).
        assert life.scene.neutron.calls["PUT /ports/{id}"] <= number / 2
    life.run(*(life.job("del", container) for container in life.containers))
    assert life.end() == []


def test_of_eleven_at_once_ten_get_a_pair(new_life: LifeMaker) -> None:
    life = new_life(Mode.ADDRESS_PAIRS)
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(PAIRS + 1)))
    assert sorted(outcome.code for outcome in outcomes) == [0] * PAIRS + [Code.EXHAUSTED]
    assert len(life.scene.reserves()) == PAIRS
    assert life.end() == []


@ALL_MODES
def test_a_full_subnet_is_told_to_those_who_come_too_late(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode, "10.9.0.0/29")
    room = len(life.scene.free())
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(room + 2)))
    assert sorted(outcome.code for outcome in outcomes) == [0] * room + [Code.EXHAUSTED] * 2
    assert life.end() == []


@ALL_MODES
def test_the_same_container_twice_at_once_gets_one_lease(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode)
    for _ in range(4):
        container = life.new_container()
        one, two = life.run(life.job("add", container), life.job("add", container))
        assert one.ok
        assert one.addresses == two.addresses
    assert len(life.scene.reserves()) == (0 if mode is Mode.FIXED_IPS else 4)
    assert life.end() == []


@ALL_MODES
def test_add_and_del_of_one_container_at_once(
    new_life: LifeMaker, zygote: Zygote, mode: Mode
) -> None:
    """Whoever wins: afterwards it has an address and a row, or none of both."""
    life = new_life(mode)
    for number in range(12):
        container = life.new_container()
        add = life.job("add", container, delay=random.Random(number).choice((0, 0.01, 0.03)))
        deletes = [life.job("del", container, delay=0.008 * i) for i in range(number % 3 + 1)]
        outcome, *others = zygote.run(add, *deletes)
        assert all(other.ok for other in others)
        assert outcome.code in (0, Code.TRY_AGAIN)
        if not outcome.ok:
            life.host.namespaces.remove(container)
            continue
        row = next(r for r in life.host.records() if r.attachment.container_id == container)
        assert str(row.addresses[0].address) == outcome.addresses[0]
        assert life.delete(container).ok
    assert life.end() == []


@ALL_MODES
def test_two_nodes_of_one_network(zygote: Zygote, tmp_path: Path, mode: Mode) -> None:
    """Each changes its own port; addresses come from the same small subnet."""
    with Scene(tmp_path / "scene", ("10.9.0.0/26",)) as scene:
        hosts = [Host(scene, name) for name in ("one", "two")]
        together(scene, hosts, zygote, mode, each=9)


def test_two_installations_on_one_port(zygote: Zygote, tmp_path: Path) -> None:
    """Their locks are two, and so are their stores; the subnet is nearly full."""
    for seed in range(4):
        with Scene(tmp_path / f"scene{seed}", ("10.9.0.0/27",), seed) as scene:
            one = Host(scene, "one")
            two = Host(scene, "two", one.port_id, one.namespaces)
            together(scene, [one, two], zygote, Mode.FIXED_IPS, each=11)


def together(
    scene: Scene, hosts: list[Host], zygote: Zygote, mode: Mode, each: int, overlap: int = 0
) -> None:
    """All nodes add at once, beside a rival; then all delete at once.

    `overlap`: how many of the nodes' first PUTs meet in Neutron.
    """
    rival = Rival(scene, hosts[0].port_id, random.Random(1))
    rival.add_address()
    scene.neutron.cloud.overlap.expect(overlap)
    live = {}
    jobs, owners = [], []
    for number in range(each):
        for host in hosts:
            container = f"{host.name}-{number}"
            host.namespaces.make(container)
            config = host.config(mode, quarantine=QUARANTINE)
            jobs.append(host.job("add", config, container))
            owners.append((host, container, config))
    outcomes = zygote.run(*jobs)
    for (host, container, _), outcome in zip(owners, outcomes, strict=True):
        assert outcome.ok, outcome.error
        live[host.name, container] = [ip_address(item) for item in outcome.addresses]
    assert broken(scene, hosts, mode, live) + trespasses(scene, [rival], live) == []
    zygote.run(*(host.job("del", config, container) for host, container, config in owners))
    scene.pass_time(QUARANTINE + 1)
    for _ in range(3):
        zygote.run(*(host.job("sweep", host.config(mode)) for host in hosts))
        scene.pass_time(121)
    assert leaks(scene, hosts, [rival]) == []
    assert rival.addresses <= set(addresses_on(scene.port(rival.port_id)))


def test_updates_that_overlap_lose_nothing(zygote: Zygote, tmp_path: Path) -> None:
    """Neutron says 200 to both of two PUTs with one revision: each was a difference."""
    for seed in range(3):
        with Scene(tmp_path / f"scene{seed}", ("10.9.0.0/26",), seed) as scene:
            one = Host(scene, "one")
            two = Host(scene, "two", one.port_id, one.namespaces)
            together(scene, [one, two], zygote, Mode.FIXED_IPS, each=3, overlap=2)
            assert scene.neutron.cloud.overlap.met


def test_a_node_leaves_the_ports_of_a_node_with_the_same_mark_alone(
    zygote: Zygote, tmp_path: Path
) -> None:
    """The mark of an installation has six digits: of a thousand nodes two may well share one."""
    with Scene(tmp_path / "scene") as scene:
        one, two = (Host(scene, name) for name in ("one", "two"))
        live = {}
        for host in (one, two):
            container = f"of-{host.name}"
            host.namespaces.make(container)
            with host.store() as store:
                store.remember("install", "abcdef")
            config = host.config(Mode.PORT, quarantine=QUARANTINE)
            (outcome,) = zygote.run(host.job("add", config, container))
            live[host.name, container] = [ip_address(item) for item in outcome.addresses]
        scene.pass_time(QUARANTINE + 1)
        zygote.run(two.job("sweep", two.config(Mode.PORT)))
        assert broken(scene, [one, two], Mode.PORT, live) == []

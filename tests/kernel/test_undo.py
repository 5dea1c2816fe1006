"""DEL: what `undo` removes, and what it must leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neutron_cni.netlink.undo import remove_stale_entries
from neutron_cni.plugins import veth_route
from neutron_cni.plugins.contract import Leftover
from tests.kernel.pods import DUAL, ELSEWHERE, PORT, facts, make_pod
from tests.kernel.world import World, inside

OTHER = ("10.10.10.20/24",)


def test_undo_leaves_node_and_pod_exactly_as_before(world: World) -> None:
    make_pod(world, "other", OTHER).apply()
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node"), world.snapshot("pod1")
    pod.apply()
    assert world.snapshot("node") != before[0]

    pod.undo()

    after = world.snapshot("node"), world.snapshot("pod1")
    # lo stays up: it is the pod's.
    assert after[0] == before[0]
    assert [link["ifname"] for link in world.ip("pod1", "link", "show")] == ["lo"]


@pytest.mark.parametrize("netns", ["", None, "/run/netns/nct-never-was"])
def test_undo_works_after_the_namespace_is_gone(world: World, netns: str | None) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()
    world.remove("pod1")

    pod.undo(netns=netns)

    assert world.snapshot("node") == before


def test_undo_works_without_the_pods_path_while_the_namespace_lives(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()

    pod.undo(netns=None)

    assert world.snapshot("node") == before
    assert [link["ifname"] for link in world.ip("pod1", "link", "show")] == ["lo"]


def test_undo_of_the_unknown_and_a_second_undo_do_nothing(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.undo()
    pod.apply()
    pod.undo()
    pod.undo()

    assert world.snapshot("node") == before


def test_undo_without_lease_and_facts_finds_the_proxy_entries_too(world: World) -> None:
    make_pod(world, "other", OTHER).apply()
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()

    pod.undo(veth_route.leftovers(Leftover("net1", pod.attachment)))

    assert world.snapshot("node") == before


def test_undo_with_lease_and_facts_does_the_same(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()

    pod.undo(veth_route.leftovers(Leftover("net1", pod.attachment, pod.lease, facts(world))))

    assert world.snapshot("node") == before


def test_undo_removes_what_answers_for_addresses_of_another_subnet(world: World) -> None:
    pod = make_pod(world, "pod1", ELSEWHERE, port_id=PORT)
    before = world.snapshot("node")
    pod.apply()
    assert len(world.snapshot("node")["proxies6"]) == 1

    pod.undo(veth_route.leftovers(Leftover("net1", pod.attachment, pod.lease, facts(world))))

    assert world.snapshot("node") == before


def test_undo_finds_the_entries_of_a_former_uplink(world: World) -> None:
    """hostInterface was changed between ADD and DEL."""
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()
    known = facts(world)
    assert known.uplink is not None
    other = replace(known, uplink=replace(known.uplink, name="lo"))

    pod.undo(veth_route.leftovers(Leftover("net1", pod.attachment, pod.lease, other)))

    assert world.snapshot("node") == before


def test_undo_removes_proxy_entries_whose_link_and_route_are_gone_already(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    pod.apply()
    world.do("node", "ip", "link", "del", pod.host_link)
    assert len(world.snapshot("node")["proxies"]) == 2

    pod.undo()

    assert world.snapshot("node") == before


def test_stale_proxy_entries_are_ours_and_without_a_route(world: World) -> None:
    """The sandbox went without a DEL, and the lease is lost: nothing else leads to them."""
    lost, living = make_pod(world, "pod1", DUAL), make_pod(world, "pod2", OTHER)
    world.do("node", "ip", "neigh", "add", "proxy", "10.10.10.99", "dev", "up0")
    living.apply()
    before = world.snapshot("node")
    lost.apply()
    world.do("node", "ip", "link", "del", lost.host_link)
    assert world.snapshot("node") != before

    removed = inside(world.path("node"), remove_stale_entries)

    assert {str(address) for address in removed} == {"10.10.10.19", "fd00:10::19"}
    assert world.snapshot("node") == before


def test_a_late_undo_spares_the_pod_that_has_the_address_now(world: World) -> None:
    """The old pod's sandbox went (taking its route), the address was given to a new pod."""
    old = make_pod(world, "pod1", DUAL)
    old.apply()
    world.remove("pod1")
    # The kernel destroys a namespace, and the veth with it, in its own time.
    old.undo(replace(old.plan, proxies=()))
    new = make_pod(world, "pod2", DUAL)
    new.apply()
    before = world.snapshot("node")

    old.undo()

    assert world.snapshot("node") == before
    assert world.pings("router", "10.10.10.19")


def test_undo_spares_a_link_of_its_name_that_is_someone_elses(world: World) -> None:
    pod = make_pod(world, "pod1")
    link = pod.host_link
    world.do("node", "ip", "link", "add", link, "type", "veth", "peer", "name", "x0")
    world.do("node", "ip", "link", "set", link, "alias", "mine")
    before = world.snapshot("node")

    pod.undo()

    assert world.snapshot("node") == before


def test_undo_spares_the_same_attachment_of_another_network(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    before = world.snapshot("node")

    pod.undo(veth_route.leftovers(Leftover("net2", pod.attachment)))

    assert world.snapshot("node") == before


def test_undo_finds_the_pair_by_the_pods_end_when_the_nodes_end_was_renamed(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "ip", "link", "set", pod.host_link, "down")
    world.do("node", "ip", "link", "set", pod.host_link, "name", "renamed0")

    pod.undo()

    assert [link["ifname"] for link in world.ip("node", "link", "show")] == ["lo", "up0"]

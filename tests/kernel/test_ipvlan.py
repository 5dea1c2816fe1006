"""neutron-ipvlan where the kernel has ipvlan: the pod's link, its second leg, and their ends."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address, ip_interface

import msgspec
import pytest

from neutron_cni.netlink import observe
from neutron_cni.netlink.combine import combined
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import Ipvlan, Plan, VethPair
from neutron_cni.plugins import ipvlan, veth_host
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.values.address import anywhere
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Route
from tests.kernel.pods import ADDRESSES, SECOND_LEG, Pod
from tests.kernel.world import (
    NODE_ADDRESS,
    NODE_ADDRESS_6,
    OUTSIDE,
    OUTSIDE_6,
    ROUTER_ADDRESS,
    ROUTER_ADDRESS_6,
    World,
    inside,
    run,
)
from tests.unavailable import needs

pytestmark = needs("ipvlan")

TARGETS = [ROUTER_ADDRESS, ROUTER_ADDRESS_6, OUTSIDE, OUTSIDE_6, NODE_ADDRESS, NODE_ADDRESS_6]


def facts(world: World) -> HostFacts:
    return inside(world.path("node"), lambda: observe.host_facts(ipvlan=True, own_addresses=True))


def lease(name: str) -> Lease:
    v4, v6 = ADDRESSES[name]
    gateways = (ip_address(ROUTER_ADDRESS), ip_address(ROUTER_ADDRESS_6))
    return Lease(
        (
            LeasedAddress(ip_interface(f"{v4}/24"), gateways[0]),
            LeasedAddress(ip_interface(f"{v6}/64"), gateways[1]),
        ),
        routes=tuple(Route(anywhere(gateway.version), gateway) for gateway in gateways),
    )


def calls(
    world: World, name: str, **options: object
) -> tuple[Call[ipvlan.Config], Call[veth_host.Config]]:
    attachment = Attachment(world.full(name), "eth0", world.path(name))
    config = msgspec.convert(options, ipvlan.Config)
    known = facts(world)
    main = Call("net1", attachment, config, lease(name), known)
    return main, Call("net1", attachment, SECOND_LEG, lease(name), known)


def pod(world: World, name: str = "pod1", **options: object) -> Pod:
    """A new namespace and its plan; nothing is applied yet."""
    world.add(name)
    main, second = calls(world, name, **options)
    plan = combined(ipvlan.plan(main), veth_host.plan(second))
    return Pod(world, name, main.attachment, main.lease, plan)


def applied(world: World, name: str = "pod1", **options: object) -> Pod:
    made = pod(world, name, **options)
    made.apply()
    return made


def child(world: World, name: str, link: str, *kind: str) -> None:
    """Somebody's child of the uplink, in a namespace."""
    words = ("link", "add", "link", "up0", "name", link, "netns", world.full(name), "type", *kind)
    run("ip", "-n", world.full("node"), *words)


def leftovers(made: Pod) -> Plan:
    gone = Leftover("net1", made.attachment)
    return combined(ipvlan.leftovers(gone), veth_host.leftovers(gone))


def test_a_pod_reaches_the_network_and_its_node_and_is_reached(world: World) -> None:
    applied(world)
    assert [target for target in TARGETS if not world.pings("pod1", target)] == []
    for target in ADDRESSES["pod1"]:
        assert world.pings("node", target)
        assert world.pings("router", target)


def test_pods_of_one_node_talk_straight(world: World) -> None:
    (veth,) = (link for link in applied(world).plan.links if isinstance(link, VethPair))
    applied(world, "pod2")
    for target in ADDRESSES["pod2"]:
        assert world.pings("pod1", target)
    (link,) = world.ip("node", "-s", "link", "show", veth.host_name)
    # Nothing of it went by the node: its end of the second leg has seen no echo requests.
    assert link["stats64"]["rx"]["bytes"] < 1500


def test_the_link_is_a_child_of_the_uplink_with_its_mac_and_our_alias(world: World) -> None:
    made = applied(world)
    (link,) = world.ip("pod1", "link", "show", "eth0")
    (parent,) = world.ip("node", "link", "show", "up0")
    assert link["linkinfo"]["info_kind"] == "ipvlan"
    assert link["linkinfo"]["info_data"]["mode"] == "l2"
    assert link["address"] == parent["address"]
    assert link["ifalias"] == f"neutron-cni net1 {made.attachment.container_id} eth0 ipvlan"


def test_the_pods_interface_may_have_the_name_of_its_parent(world: World) -> None:
    """As on a VM whose NIC is eth0."""
    node = world.full("node")
    for words in (("down",), ("name", "eth0"), ("up",)):
        run("ip", "-n", node, "link", "set", "eth0" if words == ("up",) else "up0", *words)
    run("ip", "-n", node, "route", "add", "default", "via", ROUTER_ADDRESS)
    made = applied(world)
    assert made.diff() == []
    assert world.pings("pod1", OUTSIDE)


def test_a_repeated_add_changes_nothing(world: World) -> None:
    made = applied(world)
    before = world.snapshot("pod1"), world.snapshot("node")
    made.apply()
    assert (world.snapshot("pod1"), world.snapshot("node")) == before
    assert made.diff() == []


@pytest.fixture
def half_made(world: World) -> Pod:
    """What an ADD leaves that is killed before it names the link."""
    made = pod(world)
    (link,) = (item for item in made.plan.links if isinstance(item, Ipvlan))
    first = f"ncni{sha256(link.alias.encode()).hexdigest()[:11]}"
    child(world, "pod1", first, "ipvlan", "mode", "l2")
    return made


def test_check_names_the_mode_that_another_pods_link_has_brought(world: World) -> None:
    made = applied(world)
    assert made.diff() == []
    applied(world, "pod2", mode="l3")
    (said,) = made.diff()
    assert "has the mode l3, not l2: another network of this node" in said


def test_a_link_that_a_killed_add_left_half_made_is_completed(half_made: Pod) -> None:
    half_made.apply()
    assert half_made.diff() == []
    assert "ncni" not in str(half_made.world.text("pod1", "link", "show"))


def test_a_link_that_a_killed_add_left_half_made_goes_with_del(half_made: Pod) -> None:
    half_made.undo(leftovers(half_made))
    assert [link["ifname"] for link in half_made.world.ip("pod1", "link", "show")] == ["lo"]


def test_an_interface_of_somebody_else_is_a_conflict_and_stays(world: World) -> None:
    made = pod(world)
    child(world, "pod1", "eth0", "ipvlan", "mode", "l2")
    run("ip", "-n", world.full("pod1"), "link", "set", "eth0", "up")
    world.await_link_local("pod1", "eth0")
    before = world.snapshot("pod1"), world.snapshot("node")
    with pytest.raises(CniError, match="already has an interface eth0") as caught:
        made.apply()
    assert caught.value.code == Code.CONFLICT
    made.undo(leftovers(made))
    assert (world.snapshot("pod1"), world.snapshot("node")) == before


def test_del_leaves_nothing_on_either_side(world: World) -> None:
    world.add("pod1")
    run("ip", "-n", world.full("pod1"), "link", "set", "lo", "up")
    before = world.snapshot("pod1"), world.snapshot("node")
    world.remove("pod1")
    made = applied(world)
    made.undo(leftovers(made))
    assert (world.snapshot("pod1"), world.snapshot("node")) == before
    made.undo(leftovers(made))


def test_an_add_that_fails_half_way_leaves_nothing(world: World) -> None:
    made = pod(world)
    run("ip", "-n", world.full("node"), "route", "add", "10.10.10.19", "via", ROUTER_ADDRESS)
    before = world.snapshot("node")
    with pytest.raises(CniError, match=r"10\.10\.10\.19"):
        made.apply()
    assert world.snapshot("node") == before
    assert [link["ifname"] for link in world.ip("pod1", "link", "show")] == ["lo"]


MISSING = {
    "ip route del default": "the route default",
    "ip addr del 10.10.10.19/24 dev eth0": "the address 10.10.10.19/24 is missing",
    "ip link set eth0 alias x": "has the alias 'x'",
    "ip link set eth0 down": "the link eth0 is down",
    "ip link del eth0": "the link eth0 is missing",
}


def test_what_is_missing_is_named(world: World) -> None:
    made = applied(world)
    for words, sentence in MISSING.items():
        world.do("pod1", *words.split())
        assert any(sentence in line for line in made.diff())


def test_a_parent_that_is_down_is_named_and_all_works_once_it_is_up_again(world: World) -> None:
    made = applied(world)
    world.do("node", "ip", "link", "set", "up0", "down")
    assert any("the link up0 is down" in line for line in made.diff())
    world.do("node", "ip", "link", "set", "up0", "up")
    assert made.diff() == []
    assert world.pings("pod1", ROUTER_ADDRESS)


def test_a_parent_with_macvlan_children_is_refused(world: World) -> None:
    node = world.full("node")
    run("ip", "-n", node, "link", "add", "link", "up0", "name", "m0", "type", "macvlan")
    with pytest.raises(CniError, match=r"up0 has macvlan children \(m0\)"):
        ipvlan.refuse(ipvlan.Config(master="up0"), facts(world))


def test_macvlan_children_that_are_in_other_pods_are_the_kernels_to_refuse(world: World) -> None:
    made = pod(world)
    world.add("other")
    child(world, "other", "m0", "macvlan")
    with pytest.raises(CniError, match="ipvlan child of up0") as caught:
        made.apply()
    assert "macvlan" in caught.value.details


def test_a_parent_that_is_a_bridge_port_is_refused(world: World) -> None:
    node = world.full("node")
    run("ip", "-n", node, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", node, "link", "set", "up0", "master", "br0")
    with pytest.raises(CniError, match="up0 is a port of br0"):
        ipvlan.refuse(
            msgspec.convert({"master": "up0"}, ipvlan.Config),
            inside(world.path("node"), lambda: observe.host_facts("up0", ipvlan=True)),
        )


def test_in_mode_l3s_the_node_answers_for_the_pod_on_the_network(world: World) -> None:
    """Nobody has to send gratuitous ARP by hand, nor again."""
    applied(world, mode="l3s")
    assert [target for target in TARGETS if not world.pings("pod1", target)] == []
    assert [target for target in ADDRESSES["pod1"] if not world.pings("router", target)] == []


def test_in_mode_l3_only_who_knows_the_mac_reaches_the_pod(world: World) -> None:
    """The kernel hands the question to the child, which does not speak ARP."""
    applied(world, mode="l3")
    assert not world.pings("router", ADDRESSES["pod1"][0], seconds=2)
    (parent,) = world.ip("node", "link", "show", "up0")
    entry = (ADDRESSES["pod1"][0], "lladdr", parent["address"], "dev", "r0", "nud", "permanent")
    world.do("router", "ip", "neigh", "replace", *entry)
    assert world.pings("router", ADDRESSES["pod1"][0])
    assert world.pings("pod1", OUTSIDE)


def test_packets_of_the_full_mtu_pass_and_larger_ones_do_not(world: World) -> None:
    applied(world, mtu=1400)
    assert world.pings("pod1", OUTSIDE, "-M", "do", "-s", str(1400 - 28))
    assert not world.pings("pod1", OUTSIDE, "-M", "do", "-s", str(1401 - 28), seconds=2)

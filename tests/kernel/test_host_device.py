"""host-device-plus: a NIC goes into a pod, and comes back as it was, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from neutron_cni.cli import links
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import IpamChoice
from neutron_cni.netlink import observe
from neutron_cni.plugins import veth_host
from neutron_cni.plugins.contract import Call
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, Result, Route
from tests.kernel.moved import ADDRESSES, GATEWAYS, NIC, Node, add_nic, lease
from tests.kernel.pods import SECOND_LEG, Pod
from tests.kernel.world import NODE_ADDRESS, World, run


@pytest.fixture
def node(world: World) -> Node:
    """A node with a NIC to give away."""
    add_nic(world)
    return Node(world)


def test_the_pod_has_the_nic_and_reaches_its_network(node: Node) -> None:
    mac = node.nic()["address"]
    result = node.add(mtu=1442)
    (link,) = node.world.ip("pod1", "link", "show", "eth0")
    assert (link["address"], link["mtu"]) == (mac, 1442)
    netns = node.world.path("pod1")
    assert result.interfaces == (Interface("eth0", mac, 1442, netns),)
    assert [target for target in GATEWAYS if not node.world.pings("pod1", target)] == []
    assert [x for x in ADDRESSES["pod1"] if not node.world.pings("router", x)] == []
    assert NIC not in [item["ifname"] for item in node.world.ip("node", "link", "show")]
    assert node.check(result) == []


def test_the_alias_in_the_pod_says_whose_the_nic_is(node: Node) -> None:
    node.add()
    (link,) = node.world.ip("pod1", "link", "show", "eth0")
    assert link["ifalias"] == f"neutron-cni net1 {node.world.full('pod1')} eth0 host-device"


def test_del_brings_the_nic_home_with_name_mtu_state_and_addresses(
    node: Node, records: Path
) -> None:
    before = node.snapshot()
    node.add(mtu=1300)
    node.delete()
    assert node.snapshot() == before
    assert [link["ifname"] for link in node.world.ip("pod1", "link", "show")] == ["lo"]
    assert list(records.iterdir()) == []
    node.delete()
    assert node.snapshot() == before


def test_a_nic_that_was_down_comes_home_down(node: Node) -> None:
    run("ip", "-n", node.world.full("node"), "link", "set", NIC, "down")
    before = node.snapshot()
    node.add()
    node.delete()
    assert node.snapshot() == before


def test_names_of_node_and_pod_do_not_collide(node: Node) -> None:
    """The node has an `eth0`, the pod another link with the name that the NIC has on the node."""
    world = node.world
    world.batch("node", "link add eth0 type veth peer name eth0p")
    world.add("pod1")
    world.batch("pod1", f"link add {NIC} type veth peer name other")
    before = node.snapshot()
    assert node.check(node.add()) == []
    node.delete()
    assert node.snapshot() == before
    assert {x["ifname"] for x in world.ip("pod1", "link", "show")} == {"lo", NIC, "other"}


def test_a_repeated_add_changes_nothing(node: Node) -> None:
    first = node.add()
    node.world.await_link_local("pod1", "eth0")
    before = node.world.snapshot("pod1"), node.snapshot()
    assert node.add() == first
    assert (node.world.snapshot("pod1"), node.snapshot()) == before


def test_a_nic_of_an_earlier_lease_makes_room_for_that_of_this_one(node: Node) -> None:
    add_nic(node.world, "ens5", "r2")
    mode = IpamConfig(type="cni-ipam-neutron", mode=Mode.NOVA_INTERFACE, network="fast")
    node.options, node.ipam = {}, IpamChoice("cni-ipam-neutron", mode)
    pod = node.attachment("pod1")
    for name in (NIC, "ens5"):
        mac = node.nic(name)["address"]
        wanted = replace(lease("pod1"), nic_mac=mac)
        result = node.here(partial(node.add_here, pod, wanted))
        (link,) = node.world.ip("pod1", "link", "show", "eth0")
        assert (link["address"], result.interfaces[0].mac) == (mac, mac)
    assert node.nic(NIC)["ifname"] == NIC


def test_an_interface_of_somebody_else_is_a_conflict_and_the_nic_stays(node: Node) -> None:
    node.world.add("pod1")
    node.world.batch("pod1", "link add eth0 type veth peer name other")
    before = node.world.snapshot("pod1"), node.snapshot()
    with pytest.raises(CniError, match="already has an interface eth0") as caught:
        node.add()
    assert caught.value.code == Code.CONFLICT
    assert (node.world.snapshot("pod1"), node.snapshot()) == before


def test_an_add_that_fails_half_way_brings_the_nic_home(node: Node, records: Path) -> None:
    before, known = node.snapshot(), node.attachment("pod1")
    broadcast = lease("pod1").addresses[0].address.network.broadcast_address
    bad = Route(ip_network("10.60.0.0/16"), broadcast)
    wrong = replace(lease("pod1"), routes=(*lease("pod1").routes, bad))
    with pytest.raises(CniError, match=r"10\.60\.0\.0/16 via 10\.20\.0\.255"):
        node.here(lambda: node.add_here(known, wrong))
    assert node.snapshot() == before
    assert [link["ifname"] for link in node.world.ip("pod1", "link", "show")] == ["lo"]
    assert list(records.iterdir()) == []


@pytest.mark.parametrize("arrives_as", ["eth0", "dev7"])
def test_a_nic_that_fell_back_to_the_node_is_named_again(node: Node, arrives_as: str) -> None:
    before = node.snapshot()
    node.add(mtu=1300)
    node.falls_back("pod1", arrives_as)
    node.delete(netns=False)
    assert node.snapshot() == before


def test_a_nic_that_fell_back_is_named_again_where_the_pod_gets_another_one(node: Node) -> None:
    """The network's file may name another NIC when the runtime makes the attachment anew."""
    add_nic(node.world, "ens5", "r2")
    node.add()
    mac = node.nic("ens5")["address"]
    node.falls_back("pod1", "eth0")
    node.options = {"device": "ens5"}
    assert node.add().interfaces[0].mac == mac
    assert "ifalias" not in node.nic(NIC)


def test_gc_names_a_nic_again_that_fell_back(node: Node) -> None:
    before = node.snapshot()
    node.add()
    node.falls_back("pod1", "eth0")
    node.collect()
    assert node.snapshot() == before


def test_gc_takes_the_nic_of_a_forgotten_pod_and_leaves_that_of_a_known_one(node: Node) -> None:
    before = node.snapshot()
    result = node.add()
    node.collect("pod1")
    assert node.check(result) == []
    node.collect()
    assert node.snapshot() == before


def test_del_without_a_namespace_finds_the_nic_where_it_is(node: Node) -> None:
    """A runtime that restarted may send none, and the namespace may live all the same."""
    before = node.snapshot()
    node.add()
    node.delete(netns=False)
    assert node.snapshot() == before


def test_a_nic_that_died_with_its_namespace_leaves_nothing_behind(
    node: Node, records: Path
) -> None:
    node.add()
    node.world.remove("pod1")
    node.delete(netns=False)
    assert list(records.iterdir()) == []


def test_the_nic_keeps_its_name_of_the_way_where_its_old_one_is_taken(node: Node) -> None:
    node.add()
    node.world.batch("node", f"link add {NIC} type veth peer name other")
    taken = node.nic()["address"]
    node.delete()
    names = {link["ifname"] for link in node.world.ip("node", "link", "show")}
    (own,) = (name for name in names if name.startswith("ncni"))
    assert "ifalias" not in node.nic(own)
    assert node.nic()["address"] == taken


def test_a_pod_that_renamed_the_nic_gives_it_back(node: Node) -> None:
    before = node.snapshot()
    node.add()
    node.world.batch("pod1", "link set eth0 down", "link set eth0 name x0", "link set x0 up")
    node.delete()
    assert node.snapshot() == before


@pytest.mark.parametrize("namespace_dies", [True, False])
def test_a_nic_whose_alias_a_pod_took_away_is_found_by_its_mac(
    node: Node, namespace_dies: bool
) -> None:
    before = node.snapshot()
    node.add()
    node.world.batch("pod1", "link set eth0 alias x")
    if namespace_dies:
        node.falls_back("pod1", "dev7")
    node.delete(netns=not namespace_dies)
    assert node.snapshot() == before


def test_a_link_that_a_pod_made_is_not_taken_for_the_nic(node: Node, records: Path) -> None:
    """Else a pod could bring a link of its own to the node, by the alias of another attachment."""
    node.add()
    node.world.batch("pod1", "link add x0 type bridge")
    (link,) = node.world.ip("pod1", "link", "show", "eth0")
    node.world.do("pod1", "ip", "link", "set", "x0", "alias", link["ifalias"])
    node.delete()
    assert "x0" in [item["ifname"] for item in node.world.ip("pod1", "link", "show")]
    assert node.nic()["address"] == link["address"]


def test_without_the_nodes_file_a_link_that_is_no_hardware_stays_where_it_is(
    node: Node, records: Path
) -> None:
    node.add()
    for path in records.iterdir():
        path.unlink()
    before = node.snapshot()
    node.delete()
    assert node.snapshot() == before


def test_an_ipam_that_gives_no_lease_twice_has_the_nic_go_home_first(node: Node) -> None:
    """As the engine does where a repeated ADD finds the interface."""
    node.add()
    kernel = node.kernel(Command.ADD, node.attachment("pod1"))

    def afresh() -> Result:
        assert kernel.inspect()
        kernel.detach(None)
        return kernel.attach(lease("pod1"), Deadline.after(20))

    assert node.check(node.here(afresh)) == []


MISSING = {
    "ip route del default": "the route default",
    "ip addr del 10.20.0.19/24 dev eth0": "the address 10.20.0.19/24 is missing",
    "ip link set eth0 mtu 1440": "has the MTU 1440, not 1400",
    "ip link set eth0 alias x": "has the alias 'x'",
    "ip link set eth0 down": "the link eth0 is down",
    "ip link set eth0 address 02:00:00:00:00:77": "has the MAC 02:00:00:00:00:77",
    "ip link set eth0 name y0": "the link eth0 is missing",
}


def test_check_names_what_is_missing(node: Node) -> None:
    result = node.add(mtu=1400)
    for words, sentence in MISSING.items():
        node.world.do("pod1", *words.split())
        assert any(sentence in line for line in node.check(result)), sentence


def test_the_nic_comes_home_whatever_the_pod_did_with_it(node: Node) -> None:
    before = node.snapshot()
    node.add()
    for words in MISSING:
        if "alias" not in words:
            node.world.do("pod1", *words.split())
    node.delete()
    assert node.snapshot() == before


def test_a_nic_that_fell_back_keeps_no_lease_alive(node: Node) -> None:
    """`gc` counts a pod as alive while its link ends on the node."""
    node.add()
    assert node.here(links.linked) == frozenset()
    node.falls_back("pod1", "eth0")
    assert node.here(links.linked) == frozenset()


def test_gc_of_the_command_line_takes_the_nic_home(node: Node) -> None:
    before = node.snapshot()
    node.add()
    token = node.attachment("pod1").token("net1")
    node.here(lambda: links.remove(token))
    assert node.snapshot() == before


def test_with_veth_host_behind_it_the_pod_reaches_its_node_too(node: Node) -> None:
    world = node.world
    given = Lease.from_result(node.add())
    known = node.here(lambda: observe.host_facts(own_addresses=True))
    call = Call("net1", node.attachment("pod1"), SECOND_LEG, given, known)
    leg = Pod(world, "pod1", call.attachment, given, veth_host.plan(call))
    leg.apply()
    assert leg.diff() == []
    assert [x for x in (NODE_ADDRESS, *GATEWAYS) if not world.pings("pod1", x)] == []
    assert world.pings("node", ADDRESSES["pod1"][0])

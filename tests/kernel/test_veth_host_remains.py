"""veth-host: what differs is named and mended, and what is left when pods, or rules, are gone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from neutron_cni.cni.request import parse
from neutron_cni.engine.kernel import Kernel
from neutron_cni.netlink.plan import Plan, Side
from neutron_cni.plugins import RECIPES, veth_host
from neutron_cni.plugins.contract import Leftover
from neutron_cni.values.errors import CniError
from tests.kernel.bypassed import OTHER, Site
from tests.kernel.pods import Pod
from tests.kernel.rule_sets import flush_nftables
from tests.kernel.world import (
    NODE,
    NODE_ADDRESS,
    World,
    inside,
    run,
)
from tests.unavailable import needs


def test_as_made_nothing_differs(one_kind: Site) -> None:
    assert one_kind.pod("pod1").diff() == []


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("pod1", "ip route del 10.96.0.0/12", "the route 10.96.0.0/12"),
        ("pod1", f"ip route del {NODE_ADDRESS}", f"the route {NODE_ADDRESS}"),
        ("pod1", "ip rule del pref 1090", "the rule 1090"),
        ("pod1", "ip route flush table 110", "the route default"),
        ("pod1", "ip neigh del 169.254.1.1 dev veth0", "the neighbour 169.254.1.1 on veth0"),
        ("pod1", "ip link set veth0 down", "the link veth0 is down"),
        ("pod1", "ip link del veth0", "the link veth0 is missing"),
        ("node", "ip route del 10.10.10.19", "the route 10.10.10.19"),
    ],
)
def test_what_is_missing_is_named(one_kind: Site, name: str, words: str, sentence: str) -> None:
    pod = one_kind.pod("pod1")
    one_kind.world.do(name, *words.split())
    assert any(sentence in line for line in pod.diff())


def test_what_differs_is_mended_by_a_repeated_add(one_kind: Site) -> None:
    pod = one_kind.pod("pod1")
    one_kind.world.do("pod1", "ip", "route", "flush", "table", "110")
    one_kind.world.do("pod1", "ip", "route", "del", "10.96.0.0/12")
    pod.apply()
    assert pod.diff() == []


def test_del_leaves_the_pod_and_the_node_as_they_were(one_kind: Site) -> None:
    one_kind.main_interface("pod1")
    world = one_kind.world
    before = {name: world.snapshot(name) for name in ("node", "pod1")}
    call = one_kind.call("pod1")
    pod = Pod(world, "pod1", call.attachment, call.lease, veth_host.plan(call))
    pod.apply()
    pod.undo(veth_host.leftovers(Leftover("net1", pod.attachment)))
    assert {name: world.snapshot(name) for name in ("node", "pod1")} == before


def test_del_of_a_pod_that_is_gone_leaves_the_node_as_it_was(one_kind: Site) -> None:
    world = one_kind.world
    before = world.snapshot("node")
    pod = one_kind.pod("pod1")
    world.remove("pod1")
    pod.undo(veth_host.leftovers(Leftover("net1", pod.attachment)), None)
    assert world.snapshot("node") == before


def test_an_add_that_fails_half_way_leaves_nothing(one_kind: Site) -> None:
    one_kind.main_interface("pod1")
    world = one_kind.world
    run("ip", "-n", world.full("pod1"), "route", "add", "10.96.0.0/12", "dev", "eth0")
    before = {name: world.snapshot(name) for name in ("node", "pod1")}
    call = one_kind.call("pod1")
    pod = Pod(world, "pod1", call.attachment, call.lease, veth_host.plan(call))
    with pytest.raises(CniError, match=r"10\.96\.0\.0/12"):
        pod.apply()
    assert {name: world.snapshot(name) for name in ("node", "pod1")} == before


def status(world: World) -> list[str]:
    """What STATUS on the node says to the operator."""
    services = {"serviceCIDRs": ["10.96.0.0/12"]}
    document = {"cniVersion": "1.1.0", "name": "net1", "type": "veth-host", **services}
    recipe, notes = RECIPES["veth-host"], list[str]()
    environ = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}
    stdin = json.dumps(document).encode()
    request = parse("veth-host", environ, stdin, recipe.schemas(), with_ipam=False)

    def ask() -> list[str]:
        Kernel(request, recipe.pages(), notes.append).ready()
        return notes

    return inside(world.path("node"), ask)


@needs("nftables")
def test_status_brings_back_what_all_pods_share_where_there_are_pods(one_kind: Site) -> None:
    """A firewall that is started anew flushes all rules, and nothing need tell us so."""
    world = one_kind.world
    assert status(world) == []
    pod = one_kind.pod("pod1")
    assert status(world) == []
    inside(world.path("node"), flush_nftables)
    assert len([line for line in pod.diff() if "packet rules" in line]) == 6
    assert [note for note in status(world) if "are made anew" in note]
    assert pod.diff() == []


def test_two_pods_have_links_of_their_own(one_kind: Site) -> None:
    first, second = one_kind.pod("pod1"), one_kind.pod("pod2")
    assert first.host_link != second.host_link
    first.undo()
    assert second.diff() == []
    assert one_kind.world.pings("node", OTHER[4])


def test_all_of_the_nodes_addresses_are_reached(one_kind: Site) -> None:
    run("ip", "-n", one_kind.world.full("node"), "addr", "add", "172.17.0.1/16", "dev", "lo")
    one_kind.pod("pod1")
    assert one_kind.world.pings("pod1", "172.17.0.1")


def test_an_address_that_the_node_got_later_fails_no_pod(one_kind: Site) -> None:
    """Docker may be installed on a node that has pods, and keepalived moves addresses."""
    pod, world = one_kind.pod("pod1"), one_kind.world
    run("ip", "-n", world.full("node"), "addr", "add", "172.17.0.1/16", "dev", "lo")
    assert pod.diff(veth_host.plan(one_kind.call("pod1"))) == []
    run("ip", "-n", world.full("node"), "addr", "add", "10.10.10.9/24", "dev", "up0")
    assert pod.diff(veth_host.plan(one_kind.call("pod1"))) == []
    world.do("pod1", "ip", "route", "del", NODE[4])
    (line,) = pod.diff(veth_host.plan(one_kind.call("pod1")))
    assert NODE[4] in line


def test_the_plan_owns_only_the_pods_own_links(one_kind: Site) -> None:
    plan: Plan = replace(one_kind.pod("pod1").plan)
    assert plan.owns(Side.POD, "veth0")
    assert not plan.owns(Side.POD, "eth0")

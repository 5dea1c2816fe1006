"""Pods whose addresses are on the port of a NIC that has not the node's default route."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from neutron_cni.netlink import observe
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import Plan
from neutron_cni.netlink.undo import remove_stale_entries, undo
from neutron_cni.plugins import veth_route
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Route
from tests.kernel.pods import FORWARDING, Pod, make_pod
from tests.kernel.world import OUTSIDE, OUTSIDE_6, World, inside, run

GATEWAY, GATEWAY_6 = "10.20.0.1", "fd00:20::1"
BEYOND = "198.51.100.1"
LEASE = Lease(
    (
        LeasedAddress(ip_interface("10.20.0.19/24"), ip_address(GATEWAY)),
        LeasedAddress(ip_interface("fd00:20::19/64"), ip_address(GATEWAY_6)),
    ),
    routes=(Route(ip_network(f"{BEYOND}/32"), ip_address("10.20.0.2")),),
    port_id="a port of Neutron",
)
OTHER = replace(
    LEASE,
    addresses=(
        LeasedAddress(ip_interface("10.20.0.20/24"), ip_address(GATEWAY)),
        LeasedAddress(ip_interface("fd00:20::20/64"), ip_address(GATEWAY_6)),
    ),
)


@pytest.fixture
def second(world: World) -> World:
    """The node has a second NIC, `up1`, to another router; strict rp_filter everywhere.

    Both routers have the hosts outside, and each knows the way back to its own subnet only.
    """
    world.add("router2")
    node, router = world.full("node"), world.full("router2")
    run(
        *("ip", "-n", node, "link", "add", "up1", "type", "veth"),
        *("peer", "name", "r0", "netns", router),
    )
    for name, link, *addresses in (
        ("node", "up1", "10.20.0.8/24", "fd00:20::8/64"),
        ("router2", "r0", f"{GATEWAY}/24", "10.20.0.2/24", f"{GATEWAY_6}/64"),
        ("router2", "lo", f"{OUTSIDE}/32", f"{BEYOND}/32", f"{OUTSIDE_6}/128"),
    ):
        world.do(name, "sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/{link}/accept_dad")
        for address in addresses:
            run("ip", "-n", world.full(name), "addr", "add", address, "dev", link)
        run("ip", "-n", world.full(name), "link", "set", link, "up")
    for name, link in (("node", "up1"), ("router2", "r0")):
        world.await_link_local(name, link)
    world.do("node", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter")
    return world


def on_second(world: World, name: str, lease: Lease = LEASE) -> Pod:
    """A pod with addresses of the second NIC's port, as it is known by its MAC."""
    pod = make_pod(world, name)
    (link,) = world.ip("node", "link", "show", "dev", "up1")
    lease = replace(lease, nic_mac=link["address"])
    known = inside(world.path("node"), lambda: observe.host_facts(None, "", lease.nic_mac))
    call = Call("net1", pod.attachment, FORWARDING, lease, replace(known, dummy=False))
    return replace(pod, lease=lease, plan=veth_route.plan(call))


def on_second_again(world: World, pod: Pod) -> Pod:
    """The pod with the plan that is made now."""
    mac = pod.lease.nic_mac
    known = inside(world.path("node"), lambda: observe.host_facts(None, "", mac))
    call = Call("net1", pod.attachment, FORWARDING, pod.lease, replace(known, dummy=False))
    return replace(pod, plan=veth_route.plan(call))


def rules(world: World) -> list[str]:
    """Our rules on the node, of both versions."""
    shown = world.text("node", "rule", "show") + world.text("node", "-6", "rule", "show")
    return [line for line in shown if line.endswith("proto 110")]


def leftovers(pod: Pod, lease: Lease | None, facts: HostFacts | None) -> Plan:
    """What DEL undoes, when it knows this much."""
    return veth_route.leftovers(Leftover("net1", pod.attachment, lease, facts))


@pytest.mark.parametrize("target", [OUTSIDE, OUTSIDE_6, BEYOND])
def test_a_pod_leaves_by_the_nic_that_carries_its_address(second: World, target: str) -> None:
    on_second(second, "pod1").apply()
    assert second.pings("pod1", target)


@pytest.mark.parametrize("target", ["10.20.0.19", "fd00:20::19"])
def test_hosts_reach_the_pod_by_that_nic_although_rp_filter_is_strict(
    second: World, target: str
) -> None:
    on_second(second, "pod1").apply()
    assert second.pings("router2", target)
    # From an address that the node itself would answer by its default route.
    source = OUTSIDE if "." in target else OUTSIDE_6
    assert second.pings("router2", target, "-I", source)


@pytest.mark.parametrize("target", ["10.20.0.20", "10.10.10.19", "10.10.10.8", "10.20.0.8"])
def test_pods_of_the_node_and_the_node_itself_are_reached_without_leaving_it(
    second: World, target: str
) -> None:
    on_second(second, "pod1").apply()
    on_second(second, "pod2", OTHER).apply()
    make_pod(second, "pod3").apply()
    second.do("node", "ip", "link", "set", "up0", "down")
    second.do("node", "ip", "link", "set", "up1", "down")
    assert second.pings("pod1", target)


def test_without_its_rules_the_pod_is_cut_off_and_check_says_by_which_nic_it_leaves(
    second: World,
) -> None:
    pod = on_second(second, "pod1")
    pod.apply()
    assert pod.diff() == []
    for version in ("-4", "-6"):
        for priority in ("1100", "1101"):
            second.text("node", version, "rule", "del", "priority", priority)

    assert not second.pings("pod1", OUTSIDE, seconds=2)
    assert pod.diff() == [
        f"node: what comes from {address} leaves by up0 and not by up1, whose port lets it pass"
        for address in ("10.20.0.19", "fd00:20::19")
    ]


def test_check_asks_for_the_way_and_not_for_our_rules(second: World) -> None:
    """What the node's routes say may be otherwise since ADD, and an operator's rules do as well."""
    pod = on_second(second, "pod1")
    pod.apply()
    second.do("node", "ip", "route", "add", "10.77.0.0/16", "dev", "up1", "scope", "link")
    again = on_second_again(second, pod)
    assert again.plan != pod.plan
    assert again.diff() == []
    for version, source in (("-4", "10.20.0.0/24"), ("-6", "fd00:20::/64")):
        (rule,) = [x for x in pod.plan.rules if x.priority == 1101 and f"-{x.version}" == version]
        table = str(rule.table)
        own = ("from", source, "lookup", table, "priority", "500")
        second.text("node", version, "rule", "add", *own)
        for priority in ("1100", "1101"):
            second.text("node", version, "rule", "del", "priority", priority)
    assert again.diff() == []
    assert second.pings("pod1", OUTSIDE)


def test_a_pod_of_the_only_nic_is_well_while_the_node_has_no_default_route(world: World) -> None:
    pod = make_pod(world, "pod1", ("10.10.10.19/24", "fd00:10::19/64"))
    pod.apply()
    world.do("node", "ip", "-6", "route", "del", "default")
    known = inside(world.path("node"), lambda: observe.host_facts(None, ""))
    lease = replace(pod.lease, port_id="a port of Neutron")
    plan = veth_route.plan(Call("net1", pod.attachment, veth_route.Config(), lease, known))
    assert pod.diff(plan) == []


def test_a_repeated_add_leaves_no_rule_of_before(second: World) -> None:
    pod = on_second(second, "pod1")
    pod.apply()
    second.do("node", "ip", "route", "add", "10.77.0.0/16", "dev", "up1", "scope", "link")
    again = on_second_again(second, pod)
    again.apply()
    assert len(rules(second)) == 4
    tables = {str(rule.table) for rule in again.plan.rules if rule.priority == 1101}
    assert {line.split()[-3] for line in rules(second) if line.startswith("1101")} == tables


def test_a_nic_without_an_address_gets_no_rules_and_a_sentence(second: World) -> None:
    second.do("node", "ip", "addr", "del", "10.20.0.8/24", "dev", "up1")
    second.do("node", "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/up1/disable_ipv6")
    pod = on_second(second, "pod1")
    pod.apply()
    assert rules(second) == []
    said = [note for note in pod.plan.notes if note.startswith("up1 has no IPv")]
    assert len(said) == 2


def test_of_several_next_hops_only_one_is_the_pods(second: World) -> None:
    hops = ("nexthop", "via", GATEWAY, "dev", "up1", "nexthop", "via", "10.10.10.1", "dev", "up0")
    second.do("node", "ip", "route", "replace", "default", *hops)
    pod = on_second(second, "pod1")
    assert {rule.version for rule in pod.plan.rules} == {4, 6}
    pod.apply()
    for host in range(20, 30):
        (way,) = second.ip(
            "node", "route", "get", f"192.0.2.{host}", "from", "10.20.0.19", "iif", pod.host_link
        )
        assert way["dev"] == "up1"


def test_the_bridge_that_a_nic_is_in_counts_for_it(second: World) -> None:
    (link,) = second.ip("node", "link", "show", "dev", "up1")
    mac = link["address"]
    second.do("node", "ip", "link", "add", "br1", "address", mac, "type", "bridge")
    second.do("node", "ip", "link", "set", "up1", "master", "br1")
    found = inside(second.path("node"), lambda: observe.host_facts(None, "", mac)).uplink
    assert found is not None
    assert found.name == "br1"


def test_a_kernel_without_ipv6_is_asked_for_no_rules(
    second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here an address family that this kernel has no rules of stands for IPv6."""
    pod = on_second(second, "pod1")
    pod.apply()
    monkeypatch.setattr("neutron_cni.netlink.rules.FAMILY", {4: 2, 6: 12})
    inside(second.path("node"), remove_stale_entries)
    pod.undo(leftovers(pod, pod.lease, None))
    assert second.text("node", "rule", "show") == [
        "0: from all lookup local",
        "32766: from all lookup main",
        "32767: from all lookup default",
    ]


def test_the_rule_of_a_pod_whose_link_is_down_is_not_stale(second: World) -> None:
    pod = on_second(second, "pod1")
    pod.apply()
    second.do("node", "sysctl", "-qw", "net.ipv4.conf.all.ignore_routes_with_linkdown=1")
    second.do("pod1", "ip", "link", "set", "eth0", "down")
    assert inside(second.path("node"), remove_stale_entries) == []
    assert len(rules(second)) == 4


def test_pods_share_a_table_that_outlives_each_of_them(second: World) -> None:
    first, other = on_second(second, "pod1"), on_second(second, "pod2", OTHER)
    first.apply()
    other.apply()
    assert {rule.table for rule in first.plan.rules} == {rule.table for rule in other.plan.rules}
    first.undo(leftovers(first, first.lease, None))
    assert other.diff() == []
    assert second.pings("pod2", OUTSIDE)


@pytest.mark.parametrize("known", ["all", "lease", "nothing"])
def test_del_leaves_no_rule_whatever_it_still_knows(second: World, known: str) -> None:
    pod = on_second(second, "pod1")
    pod.apply()
    assert len(rules(second)) == 4
    # The default route has moved to the NIC since: now the pod would get no rules.
    second.do("node", "ip", "route", "replace", "default", "via", GATEWAY)
    facts = inside(second.path("node"), lambda: observe.host_facts(None, "", pod.lease.nic_mac))
    pod.undo(
        leftovers(pod, None if known == "nothing" else pod.lease, facts if known == "all" else None)
    )
    assert rules(second) == []


def test_a_late_del_leaves_the_rules_of_the_pod_that_has_the_address_now(second: World) -> None:
    former = on_second(second, "pod1")
    on_second(second, "pod2").apply()
    former.undo(leftovers(former, former.lease, None))
    assert len(rules(second)) == 4
    assert second.pings("pod2", OUTSIDE)


def test_rules_of_a_sandbox_that_went_without_a_del_are_collected(second: World) -> None:
    gone, lives = on_second(second, "pod1"), on_second(second, "pod2", OTHER)
    gone.apply()
    lives.apply()
    second.do("node", "ip", "link", "del", gone.host_link)
    removed = inside(second.path("node"), remove_stale_entries)
    assert set(removed) == {ip_address("10.20.0.19"), ip_address("fd00:20::19")}
    assert len(rules(second)) == 4
    assert lives.diff() == []


def test_a_failed_add_takes_its_rules_back(second: World) -> None:
    before = second.snapshot("node")
    pod = on_second(second, "pod1")
    second.do("pod1", "ip", "link", "add", "in-the-way", "type", "veth", "peer", "name", "peer")
    second.do("pod1", "ip", "link", "set", "in-the-way", "up")
    second.do("pod1", "ip", "route", "add", "default", "dev", "in-the-way")
    with pytest.raises(Exception, match="already has that destination"):
        pod.apply()
    assert rules(second) == []
    after = second.snapshot("node")
    assert after["links"] == before["links"]


def test_nothing_is_done_for_pods_of_the_nic_with_the_default_route(world: World) -> None:
    pod = make_pod(world, "pod1", ("10.10.10.19/24", "fd00:10::19/64"))
    known = inside(world.path("node"), lambda: observe.host_facts(None, ""))
    lease = replace(pod.lease, port_id="a port of Neutron")
    plan = veth_route.plan(Call("net1", pod.attachment, FORWARDING, lease, known))
    assert plan.rules == ()
    inside(world.path("node"), lambda: undo(plan, None))


def test_addresses_of_a_third_partys_ipam_follow_the_nodes_own_routes(second: World) -> None:
    known = inside(second.path("node"), lambda: observe.host_facts("up1", ""))
    pod = make_pod(second, "pod1")
    call = Call("net1", pod.attachment, FORWARDING, replace(LEASE, port_id=""), known)
    assert veth_route.plan(call).rules == ()

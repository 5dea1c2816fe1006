"""veth-route as a pod's second network: `net1` beside an `eth0` that has the default route."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from neutron_cni.netlink.facts import PodFacts
from neutron_cni.netlink.plan import VethPair
from neutron_cni.netlink.pod_facts import pod_facts
from neutron_cni.plugins import veth_route
from neutron_cni.plugins.contract import Call
from neutron_cni.plugins.veth_route_config import Destination
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.lease import LeasedAddress
from tests.kernel.pods import DUAL, FORWARDING, Pod, facts, make_pod
from tests.kernel.world import NODE_ADDRESS, OUTSIDE, OUTSIDE_6, World, inside, run


def second(first: Pod, config: veth_route.Config = FORWARDING, name: str = "net1") -> Pod:
    """Another attachment of the pod, planned with what the pod has now."""
    world = first.world
    attachment = Attachment(first.attachment.container_id, name, first.netns)
    lease = replace(
        first.lease,
        addresses=tuple(
            LeasedAddress(ip_interface(text)) for text in ("10.10.10.29/24", "fd00:10::29/64")
        ),
    )
    known = replace(facts(world), dummy=False)
    found = inside(world.path("node"), lambda: pod_facts(first.netns, name))
    call = Call("net2", attachment, config, lease, known, inside=found)
    return replace(first, attachment=attachment, lease=lease, plan=veth_route.plan(call))


@pytest.fixture
def first(world: World) -> Pod:
    """A dual-stack pod with its `eth0`."""
    pod = make_pod(world, "pod1", DUAL, config=FORWARDING)
    pod.apply()
    return pod


def routes(world: World) -> list[str]:
    return world.text("pod1", "route", "show") + world.text("pod1", "-6", "route", "show")


def test_the_second_network_changes_no_route_of_the_first(world: World, first: Pod) -> None:
    before = routes(world)
    net1 = second(first)
    net1.apply()
    assert first.diff() == []
    assert net1.diff() == []
    assert set(before) < set(routes(world))
    assert [line for line in routes(world) if line.startswith("default")] == [
        line for line in before if line.startswith("default")
    ]
    net1.undo()
    assert sorted(routes(world)) == sorted(before)
    assert first.diff() == []


@pytest.mark.parametrize("target", [OUTSIDE, OUTSIDE_6])
def test_each_network_answers_on_its_own_link(world: World, first: Pod, target: str) -> None:
    second(first).apply()
    assert world.pings("pod1", target)
    router = "10.10.10.1" if "." in target else "fd00:10::1"
    # By the subnet's route the packet takes net1, and its source is net1's address.
    assert world.pings("pod1", router)
    (path,) = world.ip("pod1", "route", "get", router)
    assert (path["dev"], path["prefsrc"]) == (
        "net1",
        "10.10.10.29" if "." in target else "fd00:10::29",
    )


@pytest.mark.parametrize("target", ["10.10.10.29", "fd00:10::29"])
def test_hosts_reach_the_second_network(world: World, first: Pod, target: str) -> None:
    second(first).apply()
    assert world.pings("router", target)
    assert world.pings("node", target)


def test_networks_of_the_configuration_go_by_it(world: World, first: Pod) -> None:
    config = replace_routes(f"{OUTSIDE}/32")
    second(first, config).apply()
    (path,) = world.ip("pod1", "route", "get", OUTSIDE)
    assert path["dev"] == "net1"
    assert world.pings("pod1", OUTSIDE)


def replace_routes(*networks: str) -> veth_route.Config:
    """The configuration with further networks."""
    return veth_route.Config(
        host_forwarding=FORWARDING.host_forwarding,
        routes=tuple(Destination(text) for text in networks),
    )


def test_a_default_route_can_be_moved_to_it_as_multus_does(world: World, first: Pod) -> None:
    """Its `default-route` deletes the other one, and adds `default via GATEWAY dev net1`."""
    net1 = second(first)
    net1.apply()
    run("ip", "-n", world.full("pod1"), "route", "del", "default", "dev", "eth0")
    world.do("pod1", "ip", "route", "add", "default", "via", "169.254.1.1", "dev", "net1")
    (path,) = world.ip("pod1", "route", "get", OUTSIDE)
    assert path["dev"] == "net1"
    assert world.pings("pod1", OUTSIDE)


@pytest.mark.parametrize("target", ["10.10.10.19", "fd00:10::19", "10.10.10.29", "fd00:10::29"])
def test_each_address_answers_by_its_own_link(world: World, first: Pod, target: str) -> None:
    """Both networks have the router's subnet, and the configured one has all beyond it."""
    second(first, replace_routes(f"{OUTSIDE}/32", f"{OUTSIDE_6}/128", "10.0.0.0/8")).apply()
    beyond = OUTSIDE if "." in target else OUTSIDE_6
    assert world.pings("router", target)
    assert world.pings("router", target, "-I", beyond)
    assert world.pings("node", target)


@pytest.mark.parametrize("target", ["10.10.10.19", "10.10.10.29"])
def test_each_address_answers_when_the_default_route_was_moved(
    world: World, first: Pod, target: str
) -> None:
    second(first).apply()
    run("ip", "-n", world.full("pod1"), "route", "del", "default", "dev", "eth0")
    world.do("pod1", "ip", "route", "add", "default", "via", "169.254.1.1", "dev", "net1")
    assert world.pings("router", target, "-I", OUTSIDE)
    assert world.pings("node", target)


@pytest.mark.parametrize("target", ["10.10.10.19", "10.10.10.29"])
def test_each_address_answers_when_multus_took_the_default_route_away_before(
    world: World, first: Pod, target: str
) -> None:
    """So it does for `default-route`: the other network has none any longer when ours is added."""
    run("ip", "-n", world.full("pod1"), "route", "del", "default", "dev", "eth0")
    second(first).apply()
    run("ip", "-n", world.full("pod1"), "route", "del", "default", "dev", "net1")
    world.do("pod1", "ip", "route", "add", "default", "via", "169.254.1.1", "dev", "net1")
    assert world.pings("router", target, "-I", OUTSIDE)
    assert world.pings("node", target)


def test_another_link_may_have_default_routes_of_any_kind(world: World, first: Pod) -> None:
    """Two routers that advertise themselves, next hops, a route of a version without address."""
    world.do("pod1", "ip", "link", "add", "other", "type", "veth", "peer", "name", "end")
    for link in ("other", "end"):
        world.do("pod1", "ip", "link", "set", link, "up")
    world.do("pod1", "ip", "addr", "add", "192.168.7.2/24", "dev", "other")
    ip6 = ("ip", "-6", "route", "append", "default", "via")
    world.do("pod1", *ip6, "fe80::7", "dev", "other", "metric", "1025")
    world.do("pod1", *ip6, "fe80::8", "dev", "eth0", "metric", "1026")
    hops = ("nexthop", "via", "192.168.7.1", "nexthop", "via", "192.168.7.3")
    world.do("pod1", "ip", "route", "append", "default", "metric", "50", *hops)
    net1 = second(first)
    net1.apply()
    assert net1.diff() == []
    found = inside(world.path("node"), lambda: pod_facts(first.netns, "net1")).others
    assert [(item.name, str(item.gateway)) for item in found] == [
        ("eth0", "169.254.1.1"),
        ("eth0", "fe80::1"),
    ]


def test_a_third_network_stands_beside_the_second(world: World, first: Pod) -> None:
    net1 = second(first)
    net1.apply()
    found = inside(world.path("node"), lambda: pod_facts(first.netns, "net1"))
    assert found.defaults == {4, 6}
    assert found.hosts == {ip_address("169.254.1.1"), ip_address("fe80::1")}
    assert [(item.name, str(item.gateway)) for item in found.others] == [
        ("eth0", "169.254.1.1"),
        ("eth0", "fe80::1"),
    ]
    (end,) = (link for link in net1.plan.links if isinstance(link, VethPair))
    others = PodFacts(node_ends=(end.alias,))
    assert inside(world.path("node"), lambda: pod_facts(first.netns, "eth0")) == others
    assert world.pings("pod1", NODE_ADDRESS)

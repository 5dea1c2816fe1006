"""Facts about the node, namespaces told apart, and no trace left by looking."""

from __future__ import annotations

import os
import threading
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from neutron_cni.netlink import apply as applier
from neutron_cni.netlink import observe
from neutron_cni.netlink.namespace import (
    Namespace,
    is_netns,
    namespace_identity,
    own_identity,
)
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.kernel.pods import DUAL, facts, make_pod
from tests.kernel.world import NODE_ADDRESS, World, inside, inside_child
from tests.unavailable import possible


def test_the_uplink_is_the_link_of_the_default_route(world: World) -> None:
    uplink = facts(world).uplink

    assert uplink is not None
    assert uplink.name == "up0"
    assert uplink.mac == world.ip("node", "link", "show", "up0")[0]["address"]
    assert uplink.mtu == 1500
    assert set(uplink.addresses) == {
        ip_interface("10.10.10.8/24"),
        ip_interface("fd00:10::8/64"),
    }
    assert set(uplink.onlink) == {ip_network("10.10.10.0/24"), ip_network("fd00:10::/64")}
    assert uplink.accept_ra == 1


def test_the_default_route_with_the_lowest_metric_counts(world: World) -> None:
    world.do("node", "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for link in ("other0", "other1"):
        world.do("node", "ip", "link", "set", link, "up")
    world.do("node", "ip", "route", "add", "default", "dev", "other0", "metric", "50")
    found = facts(world).uplink
    assert found is not None
    assert found.name == "up0"

    world.do("node", "ip", "route", "del", "default", "dev", "up0")
    found = facts(world).uplink
    assert found is not None
    assert found.name == "other0"


def test_an_uplink_with_only_an_ipv6_default_route_is_found(world: World) -> None:
    world.do("node", "ip", "-4", "route", "del", "default")

    found = facts(world).uplink
    assert found is not None
    assert found.name == "up0"


def test_without_default_route_there_is_no_uplink_unless_named(world: World) -> None:
    world.do("node", "ip", "-4", "route", "del", "default")
    world.do("node", "ip", "-6", "route", "del", "default")

    assert facts(world).uplink is None
    named = inside(world.path("node"), lambda: observe.find_uplink("up0"))
    assert named is not None
    assert named.name == "up0"


def test_a_named_uplink_that_does_not_exist_is_an_error_of_the_configuration(
    world: World,
) -> None:
    with pytest.raises(CniError, match="no interface 'eth7'") as caught:
        inside(world.path("node"), lambda: observe.host_facts("eth7"))
    assert caught.value.code == Code.INVALID_CONFIG


def test_an_address_that_dhcp_gave_is_not_static(world: World) -> None:
    def is_static() -> bool:
        return inside(world.path("node"), lambda: observe.has_static_address("up0"))

    assert is_static()
    lease = ("valid_lft", "3600", "preferred_lft", "3600")
    world.do("node", "ip", "addr", "change", f"{NODE_ADDRESS}/24", "dev", "up0", *lease)
    assert not is_static()
    world.do("node", "ip", "-4", "addr", "flush", "dev", "up0")
    assert not is_static()
    assert not inside(world.path("node"), lambda: observe.has_static_address("nowhere0"))


def test_asking_for_kinds_of_links_makes_none(world: World) -> None:
    def ask() -> tuple[bool, bool, bool]:
        with Rtnl.here() as rtnl:
            return (
                observe.kind_possible(rtnl, "veth"),
                observe.kind_possible(rtnl, "dummy"),
                observe.kind_possible(rtnl, "nonsense"),
            )

    before = world.snapshot("node")
    # Every kernel that runs these tests has veth; not every one has dummy.
    assert inside(world.path("node"), ask) == (True, possible("dummy"), False)
    assert world.snapshot("node") == before


def test_observing_leaves_no_trace(world: World) -> None:
    before = world.snapshot("node")
    facts(world)

    assert world.snapshot("node") == before


def test_pod_addresses_and_links_are_read_in_the_pods_namespace(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()

    assert observe.pod_addresses(pod.netns) == {
        "eth0": (ip_interface("10.10.10.19/24"), ip_interface("fd00:10::19/64"))
    }
    assert observe.link_exists(pod.netns, "eth0")
    assert not observe.link_exists(pod.netns, "eth1")
    assert [link.name for link in observe.pod_links(pod.netns)] == ["lo", "eth0"]


def test_links_of_ours_are_found_by_their_alias(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()

    found = inside(world.path("node"), lambda: observe.links_with_alias("neutron-cni net1 "))
    assert [link.name for link in found] == [pod.host_link]


def test_a_socket_of_the_pod_is_refused_when_it_serves_the_host(world: World) -> None:
    """The trap: a socket that silently serves the wrong namespace."""
    with Namespace.open(world.path("node")) as node:
        with pytest.raises(CniError, match="the netlink socket serves namespace"):
            Rtnl(node.identity)
        with Rtnl.inside(node) as rtnl:
            assert rtnl is not None


def test_entering_a_namespace_leaves_every_other_thread_where_it_was(world: World) -> None:
    before = own_identity()
    with Namespace.open(world.path("node")) as node:
        assert node.call(own_identity) == node.identity
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(own_identity()))
        thread.start()
        thread.join()
    assert own_identity() == before
    assert seen == [before]


def test_an_exception_inside_a_namespace_reaches_the_caller(world: World) -> None:
    def fail() -> None:
        raise KeyError("x")

    with Namespace.open(world.path("node")) as node, pytest.raises(KeyError):
        node.call(fail)


def test_two_paths_of_one_namespace_have_one_identity(world: World) -> None:
    path = world.path("node")

    assert namespace_identity(path) == Path(path).stat()[2:0:-1]
    assert namespace_identity(path) != namespace_identity(world.path("router"))
    assert namespace_identity("/proc/self/ns/net") == own_identity()


def test_only_network_namespaces_pass_for_one(world: World, tmp_path: Path) -> None:
    leftover = tmp_path / "ns"
    leftover.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    assert is_netns(world.path("node"))
    for path in (str(leftover), str(fifo), "/proc/self/ns/mnt", "/nowhere", "/proc"):
        assert not is_netns(path), path


def test_the_nodes_own_namespace_is_refused_as_a_pods(world: World) -> None:
    pod = make_pod(world, "pod1")
    own = world.path("node")
    before = world.snapshot("node")

    def refused() -> None:
        for path in (own, "/proc/self/ns/net"):
            with pytest.raises(CniError, match="the node's own network namespace") as caught:
                applier.apply(pod.plan, path, Deadline.after(20))
            assert caught.value.code == Code.INVALID_ENVIRONMENT

    inside_child(own, refused)
    assert world.snapshot("node") == before


def test_a_namespace_held_open_is_not_taken_for_another_at_its_path(world: World) -> None:
    path = world.add("pod1")
    with Namespace.open(path) as held:
        world.remove("pod1")
        world.add("pod1")
        assert namespace_identity(path) != held.identity
        assert held.call(own_identity) == held.identity

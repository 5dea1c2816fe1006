"""What pods on a Neutron network can do and what they can't, seen on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod, traffic
from neutron_cni_lab.demo.traces import traces
from neutron_cni_lab.switch import INTERNET_ADDRESS
from tests.openstack.conftest import MARK, new_pod, remove_pods
from tests.openstack.state import fixed_ips, wait_for

pytestmark = pytest.mark.both_drivers

GATEWAY = "10.10.0.1"
UNUSED = "10.10.15.253"
"""An address of the pods' subnet that is on no port."""


class Pods(NamedTuple):
    """`one` and `two` on node1, `far` on node2."""

    one: Pod
    two: Pod
    far: Pod


@pytest.fixture(scope="module")
def pods(lab: Lab, node1: Node, node2: Node) -> Iterator[Pods]:
    """Three pods for all tests of this module; none of these changes them."""
    pods = Pods(new_pod(node1), new_pod(node1), new_pod(node2))
    try:
        for pod in pods:
            pod.add()
        yield pods
    finally:
        remove_pods(lab, list(pods))


@pytest.fixture
def floating_ip(lab: Lab, pods: Pods) -> Iterator[str]:
    """A floating IP that leads to pod `one`."""
    network = lab.connection().network
    made = network.create_ip(
        floating_network_id=lab.facts["networks"]["external"],
        port_id=pods.one.node.port_id,
        fixed_ip_address=pods.one.address,
        description=MARK,
    )
    yield str(made.floating_ip_address)
    network.delete_ip(made)


def all_answered(source: traffic.Place, target: str, size: int | None = None) -> bool:
    ping = traffic.ping(source, target, size=size)
    return ping.answered == ping.sent


def router_address(lab: Lab) -> str:
    """The router's address on the external network."""
    router: Any = lab.connection().network.get_router(lab.facts["router_id"])
    return str(router.external_gateway_info["external_fixed_ips"][0]["ip_address"])


def test_neutron_shows_each_pods_address_on_the_port_of_its_node(lab: Lab, pods: Pods) -> None:
    assert {pods.one.address, pods.two.address} <= fixed_ips(lab, pods.one.node)
    assert pods.far.address in fixed_ips(lab, pods.far.node)


def test_a_pod_has_the_routes_of_the_article_and_the_node_one_to_it(pods: Pods) -> None:
    routes = pods.one.exec(["ip", "route"]).stdout.splitlines()
    assert [line.strip() for line in routes] == [
        "default via 169.254.1.1 dev eth0",
        "169.254.1.1 dev eth0 scope link",
    ]
    on_node = pods.one.node.exec(["ip", "route", "show", pods.one.address]).stdout
    assert on_node.split()[:2] == [pods.one.address, "dev"]
    assert "scope" not in on_node  # which `ip` leaves out for global


def test_pods_of_one_node_reach_each_other(pods: Pods) -> None:
    assert all_answered(pods.one, pods.two.address)
    assert all_answered(pods.two, pods.one.address)


def test_pods_of_two_nodes_reach_each_other(pods: Pods) -> None:
    assert all_answered(pods.one, pods.far.address)
    assert all_answered(pods.far, pods.one.address)


def test_a_pod_reaches_its_own_node_and_the_other(pods: Pods) -> None:
    assert all_answered(pods.one, pods.one.node.address)
    assert all_answered(pods.one, pods.far.node.address)


def test_nodes_reach_pods_of_their_own_and_of_the_other(pods: Pods) -> None:
    assert all_answered(pods.one.node, pods.one.address)
    assert all_answered(pods.one.node, pods.far.address)


def test_a_pod_reaches_the_router(pods: Pods) -> None:
    assert all_answered(pods.one, GATEWAY)


def test_the_internet_sees_a_pod_as_the_router(lab: Lab, pods: Pods) -> None:
    far = lab.facts["far_address"]
    assert traffic.transfer(pods.two, lab.node("internet"), far).source == router_address(lab)


def test_a_floating_ip_leads_from_the_internet_to_its_pod(
    lab: Lab, pods: Pods, floating_ip: str
) -> None:
    seen = traffic.transfer(lab.node("internet"), pods.one, floating_ip)
    assert (seen.source, seen.target) == (INTERNET_ADDRESS, pods.one.address)


def test_the_internet_sees_a_pod_with_a_floating_ip_as_that(
    lab: Lab, pods: Pods, floating_ip: str
) -> None:
    traffic.transfer(lab.node("internet"), pods.one, floating_ip)  # it is in force
    far = lab.facts["far_address"]
    assert traffic.transfer(pods.one, lab.node("internet"), far).source == floating_ip
    assert traffic.transfer(pods.two, lab.node("internet"), far).source == router_address(lab)


def test_a_source_that_is_not_on_the_nodes_port_is_dropped_until_neutron_allows_it(
    lab: Lab, pods: Pods
) -> None:
    """The same packets, sent the same way: only what Neutron has on the port differs."""
    network, node = lab.connection().network, pods.one.node

    def arrived() -> tuple[int, int]:
        seen = traffic.forge(
            node,
            pods.far.address,
            [UNUSED, pods.one.address],
            leaving=node,
            arriving=pods.far.node,
        )
        assert seen.left == {UNUSED: 3, pods.one.address: 3}
        return seen.arrived[UNUSED], seen.arrived[pods.one.address]

    assert arrived() == (0, 3)
    try:
        network.update_port(node.port_id, allowed_address_pairs=[{"ip_address": UNUSED}])
        wait_for(lambda: arrived() == (3, 3), "the allowed source to arrive")
    finally:
        network.update_port(node.port_id, allowed_address_pairs=[])


def test_a_pod_that_forges_its_source_does_not_get_past_its_node(pods: Pods) -> None:
    node = pods.one.node
    forged = [UNUSED, pods.two.address, pods.one.address]
    seen = traffic.forge(pods.one, pods.far.address, forged, leaving=pods.one, arriving=node)
    assert seen.left == dict.fromkeys(forged, 3)
    assert seen.arrived == {pods.one.address: 3}  # on the node's eth0


@pytest.mark.parametrize("target", ["two", "far"])
def test_a_packet_of_the_networks_mtu_passes_whole_and_a_larger_one_does_not(
    lab: Lab, pods: Pods, target: str
) -> None:
    mtu = lab.connection().network.get_network(lab.facts["networks"]["tenant"]).mtu
    address = getattr(pods, target).address
    assert all_answered(pods.one, address, size=mtu)
    assert traffic.ping(pods.one, address, size=mtu + 1, count=1).answered == 0


@pytest.mark.parametrize(("source", "target"), [("one", "two"), ("one", "far"), ("far", "one")])
def test_tcp_carries_megabytes_intact(pods: Pods, source: str, target: str) -> None:
    sender, receiver = getattr(pods, source), getattr(pods, target)
    seen = traffic.transfer(sender, receiver, receiver.address, 8 << 20)
    assert (seen.source, seen.size, seen.intact) == (sender.address, 8 << 20, True)


def test_del_leaves_port_routes_and_devices_as_they_were(
    lab: Lab, node1: Node, pods: Pods, make_pod: Callable[[Node], Pod]
) -> None:
    before = traces(lab, node1)
    pod = make_pod(node1)
    address = pod.address
    assert all_answered(pods.far, address)
    added = traces(lab, node1) - before
    assert f"fixed IP {address}" in added
    assert any(line.startswith("device veth") for line in added)
    assert any(line.startswith(f"route {address} dev veth") for line in added)

    pod.delete()

    wait_for(lambda: traces(lab, node1) == before, "everything to be as before")
    assert traffic.ping(pods.far, address, count=1).answered == 0

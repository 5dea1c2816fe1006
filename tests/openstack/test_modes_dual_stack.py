"""Pods with an IPv4 and an IPv6 address, in every mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.modes import (
    Container,
    addresses,
    bound_to,
    containers,
    fresh_nodes,
    reserving,
)
from tests.openstack.plugin import config
from tests.openstack.state import wait_for
from tests.unavailable import possible

GATEWAYS = ("10.20.0.1", "fd20::1")
FORWARDING = (
    {} if possible("IPv6 forwarding of single links") else {"hostForwarding": True}
)  # as docs/how-to/dual-stack.md says
UNUSED = "fd20::ffff"


class Nodes(NamedTuple):
    """Two VMs on the network `dual`."""

    one: Node
    two: Node


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> Iterator[Nodes]:
    with fresh_nodes(lab, "mdual1", "mdual2", network="dual") as (one, two):
        yield Nodes(one, two)


@pytest.fixture(scope="module", params=["fixed-ips", "address-pairs"])
def pods(nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[tuple[Container, Container]]:
    document = {**config("1.1.0", mode=request.param), **FORWARDING}
    with (
        containers(nodes.one, "one", document) as (one,),
        containers(nodes.two, "two", document) as (two,),
    ):
        yield one, two


def both(container: Container) -> list[str]:
    """The container's addresses, as its kernel says."""
    words = ["ip", "-o", "addr", "show", "dev", "eth0", "scope", "global"]
    lines = container.pod.exec(words).stdout.splitlines()
    return [line.split()[3].partition("/")[0] for line in lines]


def answered(source: traffic.Place, target: str) -> bool:
    return traffic.ping(source, target).answered == 3


def test_the_result_has_both_addresses_each_with_its_default_route(
    pods: tuple[Container, Container],
) -> None:
    result = pods[0].add()
    assert addresses(result) == both(pods[0])
    assert [":" in address for address in addresses(result)] == [False, True]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize("version", [4, 6])
def test_pods_reach_router_each_other_and_nodes(
    pods: tuple[Container, Container], version: int
) -> None:
    one, two = pods
    index = 0 if version == 4 else 1
    there = both(two)[index]
    node = two.node.facts["addresses"][index].partition("/")[0]
    assert answered(one.pod, GATEWAYS[index])
    assert answered(one.pod, there)
    assert answered(one.pod, node)
    assert answered(one.node, there)
    assert answered(two.pod, both(one)[index])


def test_only_the_pods_ipv6_address_gets_past_port_security(
    nodes: Nodes, pods: tuple[Container, Container]
) -> None:
    ours = both(pods[0])[1]
    for address, passes in ((UNUSED, False), (ours, True)):
        nodes.one.exec(["ip", "addr", "add", f"{address}/128", "dev", "eth0", "nodad"])
        try:
            ping = [
                "ping",
                "-n",
                "-c3",
                "-i0.1",
                f"-w{30 if passes else 2}",
                "-I",
                address,
                "fd20::1",
            ]
            assert (nodes.one.exec(ping, check=False).returncode == 0) == passes
        finally:
            nodes.one.exec(["ip", "addr", "del", f"{address}/128", "dev", "eth0"])


@pytest.mark.driver("ovn")
def test_ovn_takes_one_of_both_addresses_for_the_virtual_one(lab: Lab, nodes: Nodes) -> None:
    # A virtual port has one address in OVN 23.03, either of the two. The router finds the other
    # by ARP or ND, which the node answers: that both pass is tested above.
    with containers(nodes.one, "virtual", config("1.1.0", mode="address-pairs")) as (pod,):
        port = reserving(lab, pod)
        assert {fixed["ip_address"] for fixed in port.fixed_ips} == set(both(pod))
        binding = bound_to(lab, port.id, nodes.one.port_id)
        assert binding["type"] == "virtual"
        assert dict(binding["options"][1])["virtual-ip"] in both(pod)
        pairs = lab.connection().network.get_port(nodes.one.port_id).allowed_address_pairs
        assert {pair["ip_address"] for pair in pairs} >= set(both(pod))


def test_a_pod_that_asks_for_one_address_has_that_alone(lab: Lab, nodes: Nodes) -> None:
    calls = lab.connection().network
    used = {
        item["ip_address"]
        for port in calls.ports(network_id=calls.find_network("dual").id)
        for item in port.fixed_ips
    }
    free = next(text for n in range(200, 250) if (text := f"10.20.0.{n}") not in used)
    for address in (free, "fd20::200"):
        container = Container(nodes.one, "single", config("1.1.0"))
        try:
            assert addresses(container.add(ARGS=f"IP={address}")) == [address]
            assert both(container) == [address]
        finally:
            container.delete()


def test_mode_port_gives_one_port_with_both(lab: Lab, nodes: Nodes) -> None:
    document = config("1.1.0", mode="port", network="dual")
    with containers(nodes.one, "port", document) as (container,):
        ports = lab.connection().network.ports(tags=f"ncni-node={nodes.one.name}")
        (port,) = [port for port in ports if not port.is_admin_state_up]
        assert {fixed["ip_address"] for fixed in port.fixed_ips} == set(both(container))
    wait_for(lambda: lab.connection().network.find_port(port.id) is None, "the port to go")

"""Pods beside a node's DHCP lease: which layouts leave the node its address, and which do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import Container, fresh_nodes
from tests.openstack.plugin import call, config
from tests.openstack.pods_subnet import pods_subnet
from tests.support.dhcp import dhcp_client

pytestmark = pytest.mark.both_drivers

RENEWALS = 10
FIRST = ["10.10.0.101", "10.10.0.102", "10.10.0.103"]
LAST = ["10.10.9.99", "10.10.9.98", "10.10.9.97"]
"""Addresses of the nodes' subnet that sort as strings before, or after, nearly all others."""


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """A node whose address is about to be its DHCP client's."""
    with fresh_nodes(lab, "tdhcp") as (node,):
        yield node


def free(lab: Lab, candidates: list[str]) -> str:
    """One that no port has."""
    ports = lab.connection().network.ports(network_id=lab.facts["networks"]["tenant"])
    taken = {item["ip_address"] for port in ports for item in port.fixed_ips}
    return next(address for address in candidates if address not in taken)


def requested(address: str) -> dict[str, Any]:
    return {"capabilities": {"ips": True}, "runtimeConfig": {"ips": [f"{address}/20"]}}


def given_at_boot(node: Node) -> str:
    """The address that a client is given which knows of none."""
    with dhcp_client(node) as client:
        return client.bound()


@pytest.mark.parametrize("mode", ["fixed-ips", "address-pairs"])
def test_a_lease_is_renewed_while_pods_of_a_subnet_without_dhcp_come_and_go(
    lab: Lab, node: Node, mode: str
) -> None:
    with pods_subnet(lab, node) as subnet, dhcp_client(node) as client, ExitStack() as pods:
        document = config("1.1.0", mode=mode, subnets=[subnet])
        assert client.bound() == node.address
        for number in range(RENEWALS):
            pod = Container(node, f"pod{number}", document)
            pods.callback(pod.delete)
            pod.add()
            if number % 2:
                pods.pop_all().close()
            assert client.renew() == ("renew", node.address)
        assert given_at_boot(node) == node.address


def test_a_lease_is_renewed_while_pods_of_its_own_subnet_have_ports_of_their_own(
    lab: Lab, node: Node
) -> None:
    """Mode `address-pairs`: there is nothing on the VM's port that DHCP could give."""
    document = config("1.1.0", mode="address-pairs")
    with dhcp_client(node) as client, ExitStack() as pods:
        assert client.bound() == node.address
        for number, address in enumerate((free(lab, FIRST), free(lab, LAST))):
            pod = Container(node, f"pod{number}", document)
            pods.callback(pod.delete)
            pod.add(requested(address))
            assert client.renew() == ("renew", node.address)
        assert given_at_boot(node) == node.address


@pytest.mark.parametrize(
    ("others", "endangered"),
    [
        pytest.param(FIRST, True, id="OVN-gives-the-first", marks=pytest.mark.driver("ovn")),
        pytest.param(LAST, False, id="OVN-not-the-last", marks=pytest.mark.driver("ovn")),
        pytest.param(LAST, True, id="OVS-gives-the-last", marks=pytest.mark.driver("ovs")),
        pytest.param(FIRST, False, id="OVS-not-the-first", marks=pytest.mark.driver("ovs")),
    ],
)
def test_a_pod_on_the_port_of_a_node_with_dhcp_takes_its_place_by_the_order_of_strings(
    lab: Lab, node: Node, others: list[str], endangered: bool
) -> None:
    """As the documents say, and STATUS before it happens."""
    pod = Container(node, "pod", config("1.1.0"))
    with dhcp_client(node) as client:
        assert client.bound() == node.address
        address = pod.add(requested(free(lab, others)))["ips"][0]["address"].partition("/")[0]
        warned = call(node, "STATUS", document=pod.document, IFNAME="")
        assert warned.status == 0
        assert "has DHCP" in warned.stderr
        if lab.driver.name == "ovs":
            assert client.renew()[0] == ("nak" if endangered else "renew")
    assert given_at_boot(node) == (address if endangered else node.address)

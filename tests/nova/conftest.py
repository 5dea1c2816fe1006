"""Tests with a real Nova: a node with the host's kernel, and a VM, in a lab of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.nova.servers import Port, detach_and_wait
from tests.support.labs import lab_by_hand, nova_lab_of

MARK = "neutron-cni nova test"
"""Description of every port that a test makes."""

VM = "uml1"


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab with a Nova, its nodes without what a killed run left in one that is named."""
    lab = nova_lab_of(request)
    if lab_by_hand():
        lab.nova.start()
        for node in lab.nodes:
            if node.name != VM:
                _clean(lab, node)
    return lab


@pytest.fixture(scope="session")
def nodes(lab: Lab) -> Iterator[dict[str, Node]]:
    """``shared``: a node with the host's kernel; ``own``: a VM."""
    lab.remove_node(VM)
    yield {"shared": lab.node("node1"), "own": lab.add_node(VM, kernel="own")}
    lab.remove_node(VM)


@pytest.fixture(params=["shared", "own"])
def node(lab: Lab, nodes: dict[str, Node], request: pytest.FixtureRequest) -> Iterator[Node]:
    """One of either kind, with its first NIC only, before and after."""
    yield from _lent(lab, nodes[request.param])


@pytest.fixture
def shared(lab: Lab, nodes: dict[str, Node]) -> Iterator[Node]:
    """The one with the host's kernel, where the kind does not matter."""
    yield from _lent(lab, nodes["shared"])


@pytest.fixture
def vm(lab: Lab, nodes: dict[str, Node]) -> Iterator[Node]:
    """The VM."""
    yield from _lent(lab, nodes["own"])


@pytest.fixture
def new_port(lab: Lab) -> Iterator[Callable[[], Port]]:
    """Makes ports on the network `tenant`, which are gone after the test."""
    network = lab.connection().network
    tenant = lab.facts["networks"]["tenant"]
    group = [lab.facts["security_group_id"]]

    def make() -> Port:
        made = network.create_port(network_id=tenant, description=MARK, security_group_ids=group)
        return Port(made.id, made.mac_address, made.fixed_ips[0]["ip_address"])

    yield make
    _delete_ports(network)


@pytest.fixture
def port(new_port: Callable[[], Port]) -> Port:
    """One of them."""
    return new_port()


def _lent(lab: Lab, node: Node) -> Iterator[Node]:
    yield lab.start_node(node.name)
    _clean(lab, lab.node(node.name))


def _clean(lab: Lab, node: Node) -> None:
    compute = lab.connection().compute
    for attached in compute.server_interfaces(node.server_id):
        if attached.port_id != node.port_id:
            detach_and_wait(lab, node, attached.port_id)


def _delete_ports(network: Any) -> None:
    for left in network.ports(description=MARK):
        network.delete_port(left)

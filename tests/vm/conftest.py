"""Tests on nodes that are VMs with a kernel of their own, in the lab of the worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, Node, processes
from neutron_cni_lab.kubernetes.control_plane import ControlPlane
from neutron_cni_lab.progress import Progress
from tests.openstack.modes import fresh_nodes

NAMES = ("uml1", "uml2")


@pytest.fixture(scope="session")
def vms(lab: Lab) -> Iterator[list[Node]]:
    """Two of them on the network `dual`; of a lab that is named they are removed again."""
    for name in NAMES:
        lab.remove_node(name)
    yield [lab.add_node(name, "dual", kernel="own") for name in NAMES]
    for name in NAMES:
        lab.remove_node(name)


@pytest.fixture
def vm1(lab: Lab, vms: list[Node]) -> Node:
    """The first, running whatever the test before did to it."""
    return running(lab, vms[0])


@pytest.fixture
def vm2(lab: Lab, vms: list[Node]) -> Node:
    """The other one, running."""
    return running(lab, vms[1])


def running(lab: Lab, node: Node) -> Node:
    """The node, started if it is down."""
    return node if node.pid else lab.start_node(node.name)


@pytest.fixture(scope="session")
def plane(lab: Lab) -> Iterator[ControlPlane]:
    """A control plane on a VM in another subnet. The first time that needs it, it is built."""
    lab.software.kubernetes.install(Progress())
    with fresh_nodes(lab, "cp") as (node,):
        plane = ControlPlane(lab, node)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()
        left = processes.running(lab.places.folder, str(lab.places.folder / "kubernetes"))
        assert left == set()

"""The node of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.leases_and_gc.networks import FIXED, PAIRS, PORT
from tests.openstack.modes import (
    configure,
    fresh_nodes,
)
from tests.openstack.state import wait_until_settled


@pytest.fixture(scope="module")
def module_node(lab: Lab) -> Iterator[Node]:
    with fresh_nodes(lab, "mgc") as (node,):
        yield node


@pytest.fixture
def node(lab: Lab, module_node: Node) -> Iterator[Node]:
    """A VM with a network of each mode, and a store that waits for nothing."""
    configure(module_node, FIXED, PAIRS, PORT)
    yield module_node
    wait_until_settled(lab, module_node)

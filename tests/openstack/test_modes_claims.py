"""Claims of many pods on a VM's port, which has room for 50 tags."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni.ipam.claim import claims_in, holds_several
from neutron_cni.ipam.modes.claim_tags import FEW_TAGS
from neutron_cni_lab import Lab, Node
from tests.openstack.modes import Container, containers, fresh_nodes
from tests.openstack.plugin import config
from tests.openstack.state import wait_until_settled

THEIRS = [f"theirs-{number:02}" for number in range(FEW_TAGS - 1)]


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A VM whose port has nearly as many tags of others as leave each claim one of its own."""
    with fresh_nodes(lab, "mtags") as (made,):
        calls = lab.connection().network
        calls.set_tags(calls.get_port(made.port_id), THEIRS)
        yield made


def tags_on(lab: Lab, node: Node) -> list[str]:
    found: list[str] = lab.connection().network.get_port(node.port_id).tags
    return found


def test_claims_share_tags_once_the_port_has_many_and_go_one_by_one(lab: Lab, node: Node) -> None:
    document = config("1.1.0")
    with containers(node, "a b c d", document) as pods:
        ours = [tag for tag in tags_on(lab, node) if tag not in THEIRS]
        assert any(map(holds_several, ours))
        assert len(ours) < len(pods)
        expected = {pod.pod.address for pod in pods}
        assert {str(claim.address) for claim in claims_in(ours)} == expected
        # Others may put their tags there: the limit of 50 is not reached.
        calls = lab.connection().network
        calls.set_tags(calls.get_port(node.port_id), [*tags_on(lab, node), "one-more"])
        extra = Container(node, "e", document)
        extra.add()
        gone = extra.pod.address
        extra.delete()
        wait_until_settled(lab, node)
        left = {str(claim.address) for claim in claims_in(tags_on(lab, node))}
        assert (left, gone in left) == (expected, False)
    wait_until_settled(lab, node)
    assert sorted(tags_on(lab, node)) == sorted([*THEIRS, "one-more"])

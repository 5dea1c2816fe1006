"""ML2/OVS: pods while an agent is away, and when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from neutron_cni_lab.ovs import Ovs
from tests.openstack.modes import Container, check, containers, fresh_nodes
from tests.openstack.plugin import config
from tests.openstack.state import wait_for, wait_until_settled

pytestmark = [pytest.mark.both_drivers, pytest.mark.driver("ovs")]

ROUTER = "10.10.0.1"


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """A node that has waited for nothing in vain yet."""
    with fresh_nodes(lab, "tagent") as (node,):
        yield node


@contextmanager
def away(lab: Lab, agent: str) -> Iterator[None]:
    """Within the block the agent does not run; after it the agent serves again."""
    assert isinstance(lab.driver, Ovs)
    lab.driver.agents.stop_agent(agent)
    try:
        yield
    finally:
        lab.driver.agents.start_agent(agent)
        lab.driver.wait_for_agents(lab.connection())


def answers(source: traffic.Place, target: str) -> bool:
    return traffic.ping(source, target).answered == 3


@pytest.mark.parametrize("mode", ["fixed-ips", "address-pairs"])
def test_pods_come_and_go_while_the_openvswitch_agent_is_away(
    lab: Lab, node: Node, mode: str
) -> None:
    document = config("1.1.0", mode=mode)
    late = Container(node, "late", document)
    with containers(node, "old gone", document) as (old, gone):
        with away(lab, "openvswitch-agent"):
            assert answers(old.pod, ROUTER)
            said = late.call("ADD")
            assert said.status == 0
            assert f"the gateway {ROUTER} did not answer {said.address} in 5.0 s" in said.stderr
            gone.delete()
            assert check(late, said.json).status == 0
            assert not answers(late.pod, ROUTER)
        wait_for(lambda: answers(late.pod, ROUTER), "the late pod to reach its router")
        assert answers(old.pod, late.pod.address)
        late.delete()
    wait_until_settled(lab, node)


def test_pods_reach_the_internet_while_the_l3_agent_is_away_and_after_it(
    lab: Lab, node: Node
) -> None:
    far = lab.facts["far_address"]
    with containers(node, "old", config("1.1.0")) as (old,):
        with away(lab, "l3-agent"), containers(node, "new", config("1.1.0")) as (new,):
            assert answers(old.pod, far)
            wait_for(lambda: answers(new.pod, far), "a pod to reach the internet")
        assert answers(old.pod, far)


def test_pods_come_and_go_while_the_dhcp_agent_is_away(lab: Lab, node: Node) -> None:
    with away(lab, "dhcp-agent"), containers(node, "pod", config("1.1.0")) as (pod,):
        assert answers(pod.pod, ROUTER)
    wait_until_settled(lab, node)

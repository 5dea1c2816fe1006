"""The gateway address on a link of the node, which all its pods share.

This kernel has no dummy device, so a veth of its name stands in: for all but the creation, which
the kernel then answers with EEXIST, a link is a link.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from neutron_cni.plugins import veth_route
from tests.kernel.pods import Pod, facts, make_pod
from tests.kernel.world import World


@pytest.fixture
def pod(world: World) -> Pod:
    """A pod, not yet attached, of a node whose kernel has a dummy device."""
    world.do("node", "ip", "link", "add", "dummy0", "type", "veth", "peer", "name", "stand-in")
    world.do("node", "ip", "link", "set", "stand-in", "addrgenmode", "none", "up")
    bare = make_pod(world, "pod1")
    known = replace(facts(world), dummy=True)
    config = veth_route.VethRouteConfig()
    plan = veth_route.plan(bare.attachment, bare.lease, known, config, network="net1")
    return replace(bare, plan=plan)


def test_the_node_holds_the_gateway_address_and_answers_pings_to_it(world: World, pod: Pod) -> None:
    pod.apply()

    found = world.ip("node", "addr", "show", "dev", "dummy0")[0]
    (address,) = [item for item in found["addr_info"] if item["family"] == "inet"]
    assert (address["local"], address["prefixlen"]) == ("169.254.1.1", 32)
    assert address["scope"] == "global"
    assert "UP" in found["flags"]
    assert world.pings("pod1", "169.254.1.1")
    assert pod.diff() == []


def test_undo_leaves_the_link_and_its_address_to_the_other_pods(world: World, pod: Pod) -> None:
    pod.apply()
    pod.undo()

    (line,) = world.text("node", "-4", "-o", "addr", "show", "dev", "dummy0")
    assert "169.254.1.1/32" in line


def test_a_second_pod_and_a_repetition_find_it_there(world: World, pod: Pod) -> None:
    pod.apply()
    pod.apply()
    before = world.text("node", "addr", "show", "dev", "dummy0")
    second = make_pod(world, "pod2", ("10.10.10.20/24",))
    second.apply(replace(second.plan, dummies=pod.plan.dummies))

    assert world.text("node", "addr", "show", "dev", "dummy0") == before
    assert world.pings("pod2", "169.254.1.1")


def test_a_failed_apply_leaves_the_address_that_others_may_use(world: World, pod: Pod) -> None:
    world.do("node", "ip", "route", "add", "10.10.10.19", "dev", "up0")
    with pytest.raises(Exception, match="already has that destination"):
        pod.apply()

    (line,) = world.text("node", "-4", "-o", "addr", "show", "dev", "dummy0")
    assert "169.254.1.1/32" in line


def test_a_missing_address_and_a_missing_link_are_named(world: World, pod: Pod) -> None:
    pod.apply()
    world.do("node", "ip", "addr", "del", "169.254.1.1/32", "dev", "dummy0")
    assert pod.diff() == ["node: the address 169.254.1.1/32 is missing on dummy0"]

    world.do("node", "ip", "link", "del", "dummy0")
    assert pod.diff() == ["node: the link dummy0 is missing"]

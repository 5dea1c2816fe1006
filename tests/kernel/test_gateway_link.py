"""The gateway address on a link of the node, which all its pods share.

Not every kernel has dummy devices, so a veth of that name stands in: for all but the creation,
which the kernel then answers with EEXIST, a link is a link. Where there are some, a real one too.
"""

from __future__ import annotations

import pytest

from tests.kernel.pods import DUAL, Pod, make_pod
from tests.kernel.world import World
from tests.unavailable import needs


@pytest.fixture(params=["stand-in", pytest.param("made by ADD", marks=needs("dummy"))])
def pod(world: World, request: pytest.FixtureRequest) -> Pod:
    """A pod, not yet attached, of a node whose kernel has a dummy device."""
    if request.param == "stand-in":
        world.do("node", "ip", "link", "add", "dummy0", "type", "veth", "peer", "name", "stand-in")
        world.do("node", "ip", "link", "set", "stand-in", "addrgenmode", "none", "up")
    return make_pod(world, "pod1", dummy=True)


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
    make_pod(world, "pod2", ("10.10.10.20/24",), dummy=True).apply()

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


@needs("dummy")
def test_add_and_del_leave_the_dummy_device_and_nothing_else(world: World) -> None:
    before = world.snapshot("node")
    pod = make_pod(world, "pod1", DUAL, dummy=True)
    pod.apply()
    pod.undo()

    (link,) = world.ip("node", "link", "show", "dev", "dummy0")
    assert link["linkinfo"]["info_kind"] == "dummy"
    world.do("node", "ip", "link", "del", "dummy0")
    assert world.snapshot("node") == before

"""A pod's link that gets another MAC, or goes down and up, as plugins of the chain may make it."""

from __future__ import annotations

import pytest

from tests.kernel.pods import DUAL, FORWARDING, make_pod
from tests.kernel.world import NODE_ADDRESS, OUTSIDE, OUTSIDE_6, World

MAC = "02:00:00:00:00:99"
TARGETS = [OUTSIDE, OUTSIDE_6]


@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_with_a_new_mac_reaches_others_at_once(world: World, target: str) -> None:
    """Upstream's `tuning` sets the MAC so, and the kernel then drops even permanent neighbours."""
    make_pod(world, "pod1", DUAL, config=FORWARDING).apply()
    world.do("pod1", "ip", "link", "set", "eth0", "address", MAC)
    world.do("pod1", "ping", "-n", "-c", "1", "-W", "30", target)


@pytest.mark.parametrize("version", ["ipv4", "ipv6"])
def test_the_node_reaches_a_pod_that_has_changed_its_mac_since_they_talked(
    world: World, version: str
) -> None:
    pod = make_pod(world, "pod1", DUAL, config=FORWARDING)
    pod.apply()
    address = "10.10.10.19" if version == "ipv4" else "fd00:10::19"
    assert world.pings("node", address)
    world.do("pod1", "ip", "link", "set", "eth0", "address", MAC)
    # The pod says so by itself: there is no wait until the old entry has failed.
    assert world.pings("node", address, seconds=5)
    assert any(MAC in line for line in world.text("node", "neigh", "show", "dev", pod.host_link))


@pytest.mark.parametrize("target", TARGETS)
def test_after_down_and_up_the_routes_are_all_that_has_to_be_made_anew(
    world: World, target: str
) -> None:
    """The kernel drops routes and neighbours of a link that goes down, but keeps its addresses."""
    make_pod(world, "pod1", DUAL, config=FORWARDING).apply()
    world.do("pod1", "ip", "link", "set", "eth0", "down")
    world.do("pod1", "ip", "link", "set", "eth0", "up")
    gateway, version = ("169.254.1.1", "-4") if "." in target else ("fe80::1", "-6")
    world.do("pod1", "ip", version, "route", "replace", gateway, "dev", "eth0")
    world.do("pod1", "ip", version, "route", "add", "default", "via", gateway, "dev", "eth0")
    assert world.pings("pod1", target)


def test_the_pod_does_not_get_answers_for_the_addresses_of_others(world: World) -> None:
    """The node answers ARP on the pod's link (proxy_arp), but not for the pod's own address: else
    the pod would find it taken."""
    pod = make_pod(world, "pod1", config=FORWARDING)
    pod.apply()
    world.do("pod1", "ip", "neigh", "del", "169.254.1.1", "dev", "eth0")
    assert world.pings("pod1", NODE_ADDRESS)
    world.do("pod1", "ip", "addr", "flush", "dev", "eth0")
    world.do("pod1", "ip", "addr", "add", "10.10.10.20/32", "dev", "eth0")
    assert not world.pings("pod1", "10.10.10.19", "-I", "eth0", seconds=2)

"""Real packets: what a pod reaches, and what reaches it."""

from __future__ import annotations

import pytest

from neutron_cni.plugins.veth_route import Config
from tests.kernel.pods import DUAL, ELSEWHERE, FORWARDING, PORT, Pod, make_pod
from tests.kernel.world import NODE_ADDRESS, NODE_ADDRESS_6, OUTSIDE, OUTSIDE_6, World
from tests.unavailable import needs

OTHER = ("10.10.10.20/24", "fd00:10::20/64")


BY_LINK = needs("IPv6 forwarding of single links")


@pytest.fixture
def pods(world: World) -> tuple[Pod, Pod]:
    """Two dual-stack pods of one node."""
    first = make_pod(world, "pod1", DUAL, config=FORWARDING)
    second = make_pod(world, "pod2", OTHER, config=FORWARDING)
    first.apply()
    second.apply()
    return first, second


@pytest.mark.parametrize("target", ["10.10.10.20", "fd00:10::20"])
def test_a_pod_reaches_another_of_its_node(
    world: World, pods: tuple[Pod, Pod], target: str
) -> None:
    assert world.pings("pod1", target)


@pytest.mark.parametrize("target", [OUTSIDE, pytest.param(OUTSIDE_6, marks=BY_LINK)])
def test_a_pod_reaches_hosts_behind_the_uplink_without_forwarding_for_the_whole_node(
    world: World, target: str
) -> None:
    make_pod(world, "pod1", DUAL).apply()
    assert world.sysctl("node", "net/ipv4/ip_forward") == "0"
    assert world.sysctl("node", "net/ipv6/conf/all/forwarding") == "0"
    assert world.pings("pod1", target)


@pytest.mark.parametrize("target", [OUTSIDE, OUTSIDE_6])
def test_forwarding_for_the_whole_node_does_where_single_links_can_not_have_it(
    world: World, target: str
) -> None:
    asked = Config(host_forwarding=True)
    make_pod(world, "pod1", DUAL, config=asked, link_forwarding=False).apply()
    assert world.sysctl("node", "net/ipv6/conf/all/forwarding") == "1"
    assert world.pings("pod1", target)


@pytest.mark.parametrize(
    ("key", "target"), [("ipv4", OUTSIDE), pytest.param("ipv6", OUTSIDE_6, marks=BY_LINK)]
)
def test_without_forwarding_on_the_pods_veth_its_packets_stay_on_the_node(
    world: World, key: str, target: str
) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    setting = "forwarding" if key == "ipv4" else "force_forwarding"
    path = f"/proc/sys/net/{key}/conf/{pod.host_link}/{setting}"
    world.do("node", "sh", "-c", f"echo 0 >{path}")

    assert not world.pings("pod1", target, seconds=2)


@pytest.mark.parametrize("target", ["10.10.10.19", "fd00:10::19"])
def test_the_node_answers_arp_and_nd_for_its_pods(
    world: World, pods: tuple[Pod, Pod], target: str
) -> None:
    assert world.pings("router", target)


@pytest.mark.parametrize("target", ["10.20.0.19", "fd00:20::19"])
def test_the_node_answers_for_its_pods_of_a_subnet_that_it_has_no_address_in(
    world: World, target: str
) -> None:
    """As the router of ML2/OVS does, which has a leg in the pods' subnet, and no route to a pod."""
    world.batch("router", "addr add 10.20.0.1/24 dev r0", "addr add fd00:20::1/64 dev r0 nodad")
    make_pod(world, "pod1", ELSEWHERE, config=FORWARDING, port_id=PORT).apply()
    assert world.pings("router", target)


@pytest.mark.parametrize("target", [NODE_ADDRESS, NODE_ADDRESS_6])
def test_a_pod_reaches_its_node(world: World, pods: tuple[Pod, Pod], target: str) -> None:
    assert world.pings("pod1", target)


@pytest.mark.parametrize("target", ["10.10.10.19", "fd00:10::19"])
def test_the_node_reaches_its_pods(world: World, pods: tuple[Pod, Pod], target: str) -> None:
    assert world.pings("node", target)


def test_a_pod_pings_its_ipv6_gateway(world: World, pods: tuple[Pod, Pod]) -> None:
    assert world.pings("pod1", "fe80::1%eth0")


def test_a_pod_can_not_send_from_the_address_of_another(
    world: World, pods: tuple[Pod, Pod]
) -> None:
    # 10.10.10.20 is the other pod's. The router counts what it is asked, whoever gets the reply.
    world.do("pod1", "ip", "addr", "add", "10.10.10.20/32", "dev", "lo")
    asked = "nstat -asz IcmpInEchos | awk '/InEchos/ {print $2}'"
    assert world.pings("pod1", OUTSIDE)
    before = world.do("router", "sh", "-c", asked)
    assert not world.pings("pod1", OUTSIDE, "-I", "10.10.10.20", seconds=2)
    assert world.do("router", "sh", "-c", asked) == before

    world.do("node", "sh", "-c", f"echo 0 >/proc/sys/net/ipv4/conf/{pods[0].host_link}/rp_filter")
    world.pings("pod1", OUTSIDE, "-I", "10.10.10.20", seconds=2)
    assert world.do("router", "sh", "-c", asked) != before


def test_the_first_packet_of_a_new_pod_is_answered(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL, config=FORWARDING)
    pod.apply(settle=False)

    world.do("pod1", "ping", "-n", "-c", "1", "-W", "30", OUTSIDE)
    world.do("pod1", "ping", "-n", "-c", "1", "-W", "30", OUTSIDE_6)


@pytest.mark.parametrize("target", [OUTSIDE, OUTSIDE_6])
def test_packets_of_the_full_mtu_pass(world: World, target: str) -> None:
    make_pod(world, "pod1", DUAL, mtu=1442, config=FORWARDING).apply()
    overhead = 28 if "." in target else 48

    assert world.pings("pod1", target, "-M", "do", "-s", str(1442 - overhead))
    assert not world.pings("pod1", target, "-M", "do", "-s", str(1443 - overhead), seconds=2)

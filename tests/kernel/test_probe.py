"""The gateway is asked in a pod's name, from the link that the pod's packets leave by."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address

import pytest

from neutron_cni.netlink import frames, probe
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.kernel.pods import DUAL, FORWARDING, Pod, make_pod
from tests.kernel.world import ROUTER_ADDRESS, ROUTER_ADDRESS_6, World, inside

PATIENCE = 60.0
ADDRESS, ADDRESS_6 = ip_address("10.10.10.19"), ip_address("fd00:10::19")


@pytest.fixture
def pod(world: World) -> Pod:
    made = make_pod(world, "pod1", DUAL, config=FORWARDING)
    made.apply()
    return made


def answers(
    pod: Pod, source: Announcement, gateway: str, seconds: float = PATIENCE, netns: str = ""
) -> bool:
    asked, path = ip_address(gateway), netns or pod.netns
    return inside(
        pod.world.path("node"),
        lambda: probe.gateway_answers(source, asked, path, Deadline.after(seconds)),
    )


@pytest.mark.parametrize(
    ("address", "gateway"), [(ADDRESS, ROUTER_ADDRESS), (ADDRESS_6, ROUTER_ADDRESS_6)]
)
def test_the_router_answers_a_pod_that_the_node_asks_for(
    pod: Pod, address: object, gateway: str
) -> None:
    (source,) = (item for item in pod.plan.announcements if item.address == address)
    assert answers(pod, source, gateway)


def test_a_pod_with_its_own_link_is_answered_there(pod: Pod) -> None:
    """As on ipvlan or a NIC of its own; here the node answers, by proxy ARP."""
    assert answers(pod, Announcement(Side.POD, "eth0", ADDRESS), "169.254.1.1")


@pytest.mark.parametrize(
    ("address", "gateway"), [(ADDRESS, "10.10.10.77"), (ADDRESS_6, "fd00:10::77")]
)
def test_who_is_not_there_does_not_answer(pod: Pod, address: object, gateway: str) -> None:
    (source,) = (item for item in pod.plan.announcements if item.address == address)
    assert not answers(pod, source, gateway, seconds=0.3)


def test_it_is_asked_until_it_answers(pod: Pod) -> None:
    """As once the VM's port lets the address pass."""
    source = pod.plan.announcements[0]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(answers, pod, source, "10.10.10.77")
        pod.world.do("router", "timeout", "60", "tcpdump", "-c2", "-ni", "r0", "arp")
        assert not asked.done()
        pod.world.do("router", "ip", "addr", "add", "10.10.10.77/24", "dev", "r0")
        assert asked.result()


def test_a_link_or_a_namespace_that_is_gone_is_an_error(pod: Pod) -> None:
    gone = Announcement(Side.HOST, "nowhere0", ADDRESS)
    with pytest.raises(CniError, match=r"cannot ask 10\.10\.10\.1 on nowhere0") as caught:
        answers(pod, gone, ROUTER_ADDRESS)
    assert caught.value.code == Code.KERNEL
    with pytest.raises(CniError, match="cannot open the network namespace"):
        answers(pod, Announcement(Side.POD, "eth0", ADDRESS), ROUTER_ADDRESS, netns="/nowhere")


def test_what_a_router_answers_another_is_no_answer() -> None:
    gateway = ip_address(ROUTER_ADDRESS_6)
    kind, mac = frames.ADVERTISEMENT, bytes(6)
    assert isinstance(gateway, IPv6Address)
    assert isinstance(ADDRESS_6, IPv6Address)

    def heard(to: IPv6Address) -> bool:
        frame = frames.neighbour_discovery(kind, mac, gateway, to, gateway)
        return probe._is_answer(frame, ADDRESS_6, gateway)

    assert heard(ADDRESS_6)
    assert not heard(IPv6Address("fd00:10::20"))

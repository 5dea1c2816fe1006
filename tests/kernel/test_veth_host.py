"""veth-host beside a main interface that bypasses the node: what pods and their node reach of each
other, and services with rules of the node."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kernel.bypassed import OTHER, POD, SERVICE, Site
from tests.kernel.conversation import seen_by, serving
from tests.kernel.world import (
    FAR,
    NODE,
    ROUTER,
    World,
    run,
)
from tests.unavailable import needs, possible


@pytest.fixture(params=["macvlan", pytest.param("ipvlan", marks=needs("ipvlan"))])
def site(request: pytest.FixtureRequest, world: World) -> Site:
    """A node whose pods' main interfaces bypass it."""
    return Site(world, request.param)


def test_the_node_and_its_pod_reach_each_other(site: Site) -> None:
    site.pod("pod1")
    for version in (4, 6):
        assert site.world.pings("node", POD[version])
        assert site.world.pings("pod1", NODE[version])


def test_without_the_second_leg_the_node_and_its_pod_do_not_reach_each_other(site: Site) -> None:
    site.main_interface("pod1")
    for version in (4, 6):
        assert not site.world.pings("node", POD[version], seconds=2)


def test_what_is_for_others_leaves_by_the_main_interface_with_the_pods_address(site: Site) -> None:
    site.pod("pod1")
    for version in (4, 6):
        with serving(site.world, "router", version=version):
            assert seen_by(site.world, "pod1", "tcp", FAR[version]) == POD[version]


def test_a_service_with_its_backend_on_the_same_node_sees_the_client(site: Site) -> None:
    """Without the mark the backend would answer by its main interface, past the translation."""
    site.pod("pod1")
    site.pod("pod2")
    for version in (4, 6):
        site.translate(version, SERVICE[version], 80, OTHER[version])
        with serving(site.world, "pod2", version=version):
            assert seen_by(site.world, "pod1", "tcp", SERVICE[version], port=80) == POD[version]


def test_a_service_with_its_backend_elsewhere_sees_the_node(site: Site) -> None:
    """With the pod's own address as the source, the answer would pass the translation by."""
    site.pod("pod1")
    for version in (4, 6):
        site.translate(version, SERVICE[version], 80, FAR[version])
        with serving(site.world, "router", version=version):
            assert seen_by(site.world, "pod1", "tcp", SERVICE[version], port=80) == NODE[version]


def test_a_service_leads_back_to_the_pod_that_asks(site: Site) -> None:
    """The masquerading of what comes back to its sender is kube-proxy's."""
    site.pod("pod1")
    for version in (4, 6):
        site.translate(version, SERVICE[version], 80, POD[version])
        own = ("-s", POD[version], "-d", POD[version], "-j", "MASQUERADE")
        site.nat(version, "POSTROUTING", *own)
        with serving(site.world, "pod1", version=version):
            assert seen_by(site.world, "pod1", "tcp", SERVICE[version], port=80) == NODE[version]


def test_a_node_port_leads_to_the_pod_which_sees_the_client(site: Site) -> None:
    site.pod("pod1")
    for version in (4, 6):
        site.translate(version, NODE[version], 30080, POD[version])
        with serving(site.world, "pod1", version=version):
            assert (
                seen_by(site.world, "router", "tcp", NODE[version], port=30080) == ROUTER[version]
            )
            assert seen_by(site.world, "node", "tcp", NODE[version], port=30080) == NODE[version]


def test_the_node_port_of_the_own_node_leads_to_a_pod_beside(site: Site) -> None:
    site.pod("pod1")
    site.pod("pod2")
    for version in (4, 6):
        site.translate(version, NODE[version], 30080, OTHER[version])
        with serving(site.world, "pod2", version=version):
            assert seen_by(site.world, "pod1", "tcp", NODE[version], port=30080) == POD[version]


def test_link_local_services_of_the_node_are_reached(site: Site) -> None:
    site.pod("pod1")
    run("ip", "-n", site.world.full("node"), "addr", "add", "169.254.20.10/32", "dev", "lo")
    with serving(site.world, "node", port=53):
        assert seen_by(site.world, "pod1", "tcp", "169.254.20.10", port=53) == POD[4]


def test_a_redirection_in_the_pod_takes_what_comes_by_the_second_leg(site: Site) -> None:
    """Service meshes redirect what comes in to a proxy: to an address of the link it came by."""
    site.pod("pod1")
    program = "iptables" if possible("nftables") else "iptables-legacy"
    rule = ("-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-port", "8080")
    site.world.do("pod1", program, "-w", "-t", "nat", *rule)
    with serving(site.world, "pod1"):
        assert seen_by(site.world, "node", "tcp", POD[4], port=80) == NODE[4]
        assert seen_by(site.world, "router", "tcp", POD[4], port=80) == ROUTER[4]


def test_a_pod_can_not_send_by_the_node_from_an_address_of_another(one_kind: Site) -> None:
    one_kind.pod("pod1")
    one_kind.pod("pod2")
    one_kind.world.do("pod1", "ip", "addr", "add", f"{OTHER[4]}/32", "dev", "lo")
    assert one_kind.world.pings("pod1", NODE[4])
    assert not one_kind.world.pings("pod1", NODE[4], "-I", OTHER[4], seconds=2)


SEND = """
import socket, sys
target, source = sys.argv[1:3]
options = {"bound": (socket.SOL_SOCKET, 25, b"veth0"), "marked": (socket.SOL_SOCKET, 36, 1 << 29)}
family = socket.AF_INET6 if ":" in target else socket.AF_INET
client = socket.socket(family)
client.settimeout(3)
client.setsockopt(*options[sys.argv[3]])
client.bind((source, 0))
client.connect((target, 8080))
client.sendall(b"x\\n")
print(client.recv(100))
"""


@pytest.mark.parametrize("how", ["bound", "marked"])
def test_a_process_of_a_pod_can_not_make_the_node_send_on_for_it(one_kind: Site, how: str) -> None:
    """Any process can send by any link (SO_BINDTODEVICE), and many by a mark (CAP_NET_RAW): they
    would be somebody else's to the world, with the node's address, and reach its metadata."""
    pod, world = one_kind.pod("pod1"), one_kind.world
    assert pod.diff() == []
    for version in (4, 6):
        words = [sys.executable, "-ISc", SEND, FAR[version], POD[version], how]
        enter = ["ip", "netns", "exec", world.full("pod1")]
        with serving(world, "router", version=version):
            assert seen_by(world, "pod1", "tcp", FAR[version]) == POD[version]
            done = subprocess.run([*enter, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert any(word in done.stderr for word in ("timed out", "unreachable", "No route"))


FORGE = """
import socket, sys
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.setsockopt(41, 78, 1)
client.bind((sys.argv[1], 0))
client.sendto(b"forged", (sys.argv[2], 9))
"""


def test_the_node_takes_nothing_by_ipv6_from_an_address_that_is_not_the_pods(
    one_kind: Site,
) -> None:
    """The kernel has no rp_filter for IPv6, and any process may name any source (IPV6_FREEBIND)."""
    one_kind.pod("pod1")
    one_kind.pod("pod2")
    world = one_kind.world

    def received() -> int:
        count = "nstat -asz Udp6NoPorts | awk '/NoPorts/ {print $2}'"
        return int(world.do("node", "sh", "-c", count))

    for source, more in ((OTHER[6], 0), ("2001:db8::bad", 0), (POD[6], 1)):
        before = received()
        world.do("pod1", sys.executable, "-ISc", FORGE, source, NODE[6])
        assert world.pings("pod1", NODE[6])
        assert received() == before + more

"""veth-host beside a main interface that bypasses the node: what pods and their node reach of each
other, services with rules of the node, and what is left of it all."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from ipaddress import ip_interface

import pytest

from neutron_cni.cni.request import parse
from neutron_cni.engine.kernel import Kernel
from neutron_cni.netlink import observe
from neutron_cni.netlink.plan import Plan, Side
from neutron_cni.plugins import RECIPES, veth_host
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError
from neutron_cni.values.lease import Lease, LeasedAddress
from tests.kernel.conversation import seen_by, serving
from tests.kernel.pods import ADDRESSES, SECOND_LEG, Pod
from tests.kernel.rule_sets import flush_nftables
from tests.kernel.world import (
    FAR,
    NODE,
    NODE_ADDRESS,
    ROUTER,
    ROUTER_ADDRESS,
    ROUTER_ADDRESS_6,
    World,
    inside,
    run,
)
from tests.unavailable import needs, possible

SERVICE = {4: "10.96.0.1", 6: "fd96::1"}
POD, OTHER = (dict(zip((4, 6), ADDRESSES[name], strict=True)) for name in ("pod1", "pod2"))


@dataclass(frozen=True)
class Site:
    """The world, and which kind of link the pods' main interfaces are."""

    world: World
    kind: str

    def main_interface(self, name: str) -> None:
        """A pod's `eth0`, as a main plugin leaves it: on the node's link, default route and all."""
        world, v4, v6 = self.world, *ADDRESSES[name]
        world.add(name)
        mode = "l2" if self.kind == "ipvlan" else "bridge"
        node, pod = world.full("node"), world.full(name)
        run(
            *("ip", "-n", node, "link", "add", "link", "up0", "name", "eth0", "netns", pod),
            *("type", self.kind, "mode", mode),
        )
        world.do(name, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{v4}/24", "dev", "eth0"),
            ("addr", "add", f"{v6}/64", "dev", "eth0", "nodad"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", ROUTER_ADDRESS),
            ("route", "add", "default", "via", ROUTER_ADDRESS_6),
        ):
            run("ip", "-n", pod, *words)
        world.await_link_local(name, "eth0")

    def call(self, name: str) -> Call[veth_host.Config]:
        """What veth-host's plan for the pod is made from."""
        world, (v4, v6) = self.world, ADDRESSES[name]
        attachment = Attachment(world.full(name), "eth0", world.path(name))
        lease = Lease(tuple(LeasedAddress(ip_interface(item)) for item in (f"{v4}/24", f"{v6}/64")))
        facts = inside(world.path("node"), lambda: observe.host_facts(own_addresses=True))
        return Call("net1", attachment, SECOND_LEG, lease, facts)

    def pod(self, name: str) -> Pod:
        """A pod with both interfaces."""
        self.main_interface(name)
        call = self.call(name)
        pod = Pod(self.world, name, call.attachment, call.lease, veth_host.plan(call))
        pod.apply()
        return pod

    def translate(self, version: int, target: str, port: int, backend: str) -> None:
        """A service's rule on the node: what is for `target` goes to port 8080 of `backend`."""
        to = f"[{backend}]:8080" if version == 6 else f"{backend}:8080"
        for chain in ("PREROUTING", "OUTPUT"):
            self.nat(version, chain, "-d", target, *_TCP, str(port), "-j", "DNAT", "--to", to)

    def nat(self, version: int, chain: str, *words: str) -> None:
        """A rule in the node's table nat, by the iptables that its kernel has."""
        program = {4: "iptables", 6: "ip6tables"}[version]
        suffix = "" if possible("nftables") else "-legacy"
        self.world.do("node", f"{program}{suffix}", "-w", "-t", "nat", "-A", chain, *words)


_TCP = ("-p", "tcp", "--dport")


@pytest.fixture(params=["macvlan", pytest.param("ipvlan", marks=needs("ipvlan"))])
def site(request: pytest.FixtureRequest, world: World) -> Site:
    """A node whose pods' main interfaces bypass it."""
    return Site(world, request.param)


@pytest.fixture
def one_kind(world: World) -> Site:
    """The same, where it does not matter which kind of link they are."""
    return Site(world, "macvlan")


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


def test_as_made_nothing_differs(one_kind: Site) -> None:
    assert one_kind.pod("pod1").diff() == []


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("pod1", "ip route del 10.96.0.0/12", "the route 10.96.0.0/12"),
        ("pod1", f"ip route del {NODE_ADDRESS}", f"the route {NODE_ADDRESS}"),
        ("pod1", "ip rule del pref 1090", "the rule 1090"),
        ("pod1", "ip route flush table 110", "the route default"),
        ("pod1", "ip neigh del 169.254.1.1 dev veth0", "the neighbour 169.254.1.1 on veth0"),
        ("pod1", "ip link set veth0 down", "the link veth0 is down"),
        ("pod1", "ip link del veth0", "the link veth0 is missing"),
        ("node", "ip route del 10.10.10.19", "the route 10.10.10.19"),
    ],
)
def test_what_is_missing_is_named(one_kind: Site, name: str, words: str, sentence: str) -> None:
    pod = one_kind.pod("pod1")
    one_kind.world.do(name, *words.split())
    assert any(sentence in line for line in pod.diff())


def test_what_differs_is_mended_by_a_repeated_add(one_kind: Site) -> None:
    pod = one_kind.pod("pod1")
    one_kind.world.do("pod1", "ip", "route", "flush", "table", "110")
    one_kind.world.do("pod1", "ip", "route", "del", "10.96.0.0/12")
    pod.apply()
    assert pod.diff() == []


def test_del_leaves_the_pod_and_the_node_as_they_were(one_kind: Site) -> None:
    one_kind.main_interface("pod1")
    world = one_kind.world
    before = {name: world.snapshot(name) for name in ("node", "pod1")}
    call = one_kind.call("pod1")
    pod = Pod(world, "pod1", call.attachment, call.lease, veth_host.plan(call))
    pod.apply()
    pod.undo(veth_host.leftovers(Leftover("net1", pod.attachment)))
    assert {name: world.snapshot(name) for name in ("node", "pod1")} == before


def test_del_of_a_pod_that_is_gone_leaves_the_node_as_it_was(one_kind: Site) -> None:
    world = one_kind.world
    before = world.snapshot("node")
    pod = one_kind.pod("pod1")
    world.remove("pod1")
    pod.undo(veth_host.leftovers(Leftover("net1", pod.attachment)), None)
    assert world.snapshot("node") == before


def test_an_add_that_fails_half_way_leaves_nothing(one_kind: Site) -> None:
    one_kind.main_interface("pod1")
    world = one_kind.world
    run("ip", "-n", world.full("pod1"), "route", "add", "10.96.0.0/12", "dev", "eth0")
    before = {name: world.snapshot(name) for name in ("node", "pod1")}
    call = one_kind.call("pod1")
    pod = Pod(world, "pod1", call.attachment, call.lease, veth_host.plan(call))
    with pytest.raises(CniError, match=r"10\.96\.0\.0/12"):
        pod.apply()
    assert {name: world.snapshot(name) for name in ("node", "pod1")} == before


def status(world: World) -> list[str]:
    """What STATUS on the node says to the operator."""
    services = {"serviceCIDRs": ["10.96.0.0/12"]}
    document = {"cniVersion": "1.1.0", "name": "net1", "type": "veth-host", **services}
    recipe, notes = RECIPES["veth-host"], list[str]()
    environ = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}
    stdin = json.dumps(document).encode()
    request = parse("veth-host", environ, stdin, recipe.schemas(), with_ipam=False)

    def ask() -> list[str]:
        Kernel(request, recipe.pages(), notes.append).ready()
        return notes

    return inside(world.path("node"), ask)


@needs("nftables")
def test_status_brings_back_what_all_pods_share_where_there_are_pods(one_kind: Site) -> None:
    """A firewall that is started anew flushes all rules, and nothing need tell us so."""
    world = one_kind.world
    assert status(world) == []
    pod = one_kind.pod("pod1")
    assert status(world) == []
    inside(world.path("node"), flush_nftables)
    assert len([line for line in pod.diff() if "packet rules" in line]) == 6
    assert [note for note in status(world) if "are made anew" in note]
    assert pod.diff() == []


def test_two_pods_have_links_of_their_own(one_kind: Site) -> None:
    first, second = one_kind.pod("pod1"), one_kind.pod("pod2")
    assert first.host_link != second.host_link
    first.undo()
    assert second.diff() == []
    assert one_kind.world.pings("node", OTHER[4])


def test_all_of_the_nodes_addresses_are_reached(one_kind: Site) -> None:
    run("ip", "-n", one_kind.world.full("node"), "addr", "add", "172.17.0.1/16", "dev", "lo")
    one_kind.pod("pod1")
    assert one_kind.world.pings("pod1", "172.17.0.1")


def test_an_address_that_the_node_got_later_fails_no_pod(one_kind: Site) -> None:
    """Docker may be installed on a node that has pods, and keepalived moves addresses."""
    pod, world = one_kind.pod("pod1"), one_kind.world
    run("ip", "-n", world.full("node"), "addr", "add", "172.17.0.1/16", "dev", "lo")
    assert pod.diff(veth_host.plan(one_kind.call("pod1"))) == []
    run("ip", "-n", world.full("node"), "addr", "add", "10.10.10.9/24", "dev", "up0")
    assert pod.diff(veth_host.plan(one_kind.call("pod1"))) == []
    world.do("pod1", "ip", "route", "del", NODE[4])
    (line,) = pod.diff(veth_host.plan(one_kind.call("pod1")))
    assert NODE[4] in line


def test_the_plan_owns_only_the_pods_own_links(one_kind: Site) -> None:
    plan: Plan = replace(one_kind.pod("pod1").plan)
    assert plan.owns(Side.POD, "veth0")
    assert not plan.owns(Side.POD, "eth0")

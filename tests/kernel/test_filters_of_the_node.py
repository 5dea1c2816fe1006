"""What pods send by their node has the node's address beyond it. Real packets."""

from __future__ import annotations

import os

import pytest

from neutron_cni.netlink import filters
from neutron_cni.netlink.filters import legacy
from neutron_cni.netlink.plan import NodeSource, Side
from neutron_cni.plugins import veth_host
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.kernel.conversation import PORT, PROTOCOLS, seen_by, serving
from tests.kernel.rule_sets import flush_nftables, ours, program, with_jumps
from tests.kernel.two_links import address, make_pod
from tests.kernel.world import FAR, NODE, World, inside
from tests.unavailable import needs

FILTERS = tuple(NodeSource(version, "vethh", veth_host.NODE_MARK) for version in (4, 6))
SERVICE = {4: "10.96.0.10", 6: "fd96::10"}


def expected(kind: str, version: int) -> dict[str, int]:
    """How many rules each chain has, and how many lead to it; IPv6 has no rp_filter, and nothing
    link-local is sent on."""
    more = version == 6
    rules = {"ncni-from-vethh": 1 + more, "ncni-fwd-vethh": 4 - more, "ncni-src-vethh": 1}
    return with_jumps(rules, kind)


def serve(world: World, kind: str, version: int, target: str) -> None:
    """The service's rules on the node, as kube-proxy makes them (but for hairpins)."""
    to = f"{target}:{PORT}" if version == 4 else f"[{target}]:{PORT}"
    for protocol in PROTOCOLS:
        rule = ("-d", SERVICE[version], "-p", protocol, "--dport", "80", "-j", "DNAT")
        nat = (program(kind, version), "-t", "nat", "-A", "PREROUTING")
        world.do("node", *nat, *rule, "--to-destination", to)


@needs("nftables")
@needs("iptables-legacy")
@pytest.mark.parametrize("version", [4, 6])
def test_a_service_elsewhere_sees_the_node_and_one_on_the_node_sees_the_pod(
    two: World, back_end: str, version: int
) -> None:
    """kube-proxy's rules may be in either of the kernel's rule sets, whichever ours are in."""
    first, second = make_pod(two, "pod1", 5), make_pod(two, "pod2", 6)
    first.apply(settle=False)
    second.apply(settle=False)
    other = "legacy" if back_end == "nftables" else "nftables"
    serve(two, back_end, version, address(6, version))
    with serving(two, "pod2", version):
        for protocol in PROTOCOLS:
            seen = seen_by(two, "pod1", protocol, SERVICE[version], port=80)
            assert seen == address(5, version)
    before = two.do("node", program(other, version), "-S")
    serve(two, other, version, FAR[version])
    two.do("node", program(back_end, version), "-t", "nat", "-F", "PREROUTING")
    with serving(two, "router", version, at=FAR[version]):
        for protocol in PROTOCOLS:
            assert seen_by(two, "pod1", protocol, SERVICE[version], port=80) == NODE[version]
    assert two.do("node", program(other, version), "-S") == before


@needs("nftables")
@needs("iptables-legacy")
@pytest.mark.parametrize("version", [4, 6])
def test_without_the_nodes_rules_a_service_elsewhere_does_not_answer(
    two: World, version: int
) -> None:
    """A firewall that is started anew may flush all of nftables; ADD of any pod mends it."""
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    serve(two, "legacy", version, FAR[version])
    with serving(two, "router", version, at=FAR[version]):
        assert seen_by(two, "pod1", "tcp", SERVICE[version], port=80) == NODE[version]
        inside(two.path("node"), flush_nftables)
        assert seen_by(two, "pod1", "tcp", SERVICE[version], port=80, seconds=3) != NODE[version]
    sentences = pod.diff()
    assert len(sentences) == 6
    assert all(item.startswith("node: what comes by vethh* over IPv") for item in sentences)
    pod.apply(settle=False)
    assert pod.diff() == []


def test_pods_do_not_take_the_nodes_rules_with_them(two: World, back_end: str) -> None:
    first, second = make_pod(two, "pod1", 5), make_pod(two, "pod2", 6)
    first.apply(settle=False)
    second.apply(settle=False)
    first.undo()
    for version in (4, 6):
        assert ours(two, "node", version) == expected(back_end, version)
    assert second.diff() == []


def make_in_processes(number: int) -> list[int]:
    """The exit statuses of `number` processes that all make the rules once a pipe is closed."""
    read_end, write_end = os.pipe()
    children = []
    for _ in range(number):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(write_end)
                os.read(read_end, 1)
                filters.make(FILTERS, Side.HOST, Deadline.after(60))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(read_end)
    os.close(write_end)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_twenty_processes_at_once_make_one_set_of_rules(two: World, back_end: str) -> None:
    assert inside(two.path("node"), lambda: make_in_processes(20)) == [0] * 20
    for version in (4, 6):
        assert ours(two, "node", version) == expected(back_end, version)
    left = inside(two.path("node"), lambda: list(filters.differences(FILTERS, Side.HOST)))
    assert left == []


@needs("iptables-legacy")
def test_the_lock_of_iptables_is_waited_for_until_the_deadline(
    two: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "_without_nftables", {4, 6})

    def make() -> None:
        with legacy._turn(Deadline.after(5)):
            filters.make(FILTERS, Side.HOST, Deadline.after(0.2))

    with pytest.raises(CniError) as caught:
        inside(two.path("node"), make)
    assert caught.value.code == Code.TRY_AGAIN

"""The return mark: what comes into a pod new by its second link is answered by it. Real packets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from neutron_cni.netlink import filters, nfnetlink
from neutron_cni.netlink.filters import nftables
from neutron_cni.netlink.filters.chains import chains_of
from neutron_cni.netlink.plan import Announcement, Plan, ReturnMark, Side
from neutron_cni.plugins import veth_host
from neutron_cni.plugins.contract import Leftover
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.kernel.conversation import PROTOCOLS, seen_by, serving
from tests.kernel.rule_sets import ours, program, with_jumps
from tests.kernel.two_links import GATEWAY, address, make_pod
from tests.kernel.world import FAR, World, inside
from tests.unavailable import needs

RULES = {"ncni-in-veth0": 2, "ncni-out-veth0": 1}


def expected(back_end: str) -> dict[str, int]:
    return with_jumps(RULES, back_end)


@pytest.mark.parametrize("version", [4, 6])
def test_what_comes_in_by_the_second_link_is_answered_by_it(
    two: World, back_end: str, version: int
) -> None:
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    assert ours(two, "pod1", version) == expected(back_end)
    with serving(two, "pod1", version):
        for protocol in PROTOCOLS:
            target = address(5, version)
            seen = seen_by(two, "router", protocol, target, source=FAR[version])
            assert seen == FAR[version]
            # What comes in by the first is answered by the first.
            assert seen_by(two, "fabric", protocol, target) == GATEWAY[version]


@pytest.mark.parametrize("version", [4, 6])
def test_without_the_return_mark_the_answers_are_lost(two: World, version: int) -> None:
    pod = make_pod(two, "pod1", 5)
    pod.apply(replace(pod.plan, filters=()), settle=False)
    with serving(two, "pod1", version):
        for protocol in PROTOCOLS:
            target = address(5, version)
            assert seen_by(two, "fabric", protocol, target) == GATEWAY[version]
            assert seen_by(two, "router", protocol, target, source=FAR[version], seconds=2) == ""


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_pod_begins_itself_is_never_marked(
    two: World, back_end: str, version: int
) -> None:
    """Where it is marked it goes to the node, which would reject it."""
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    two.do(
        "node",
        "ip",
        "route",
        "add",
        "prohibit",
        f"{GATEWAY[version]}/32" if version == 4 else f"{GATEWAY[version]}/128",
    )
    with serving(two, "fabric", version):
        for protocol in PROTOCOLS:
            assert seen_by(two, "pod1", protocol, GATEWAY[version]) == address(5, version)


def test_an_icmp_error_about_such_a_packet_leaves_by_the_second_link_too(
    two: World, back_end: str
) -> None:
    """Nobody listens: the kernel of the pod says so, by RST or by ICMP, and the client hears it."""
    make_pod(two, "pod1", 5).apply(settle=False)
    for kind in ("STREAM", "DGRAM"):
        script = (
            f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_{kind});"
            f"s.settimeout(30); s.bind(({FAR[4]!r}, 0))\n"
            f"try:\n s.connect(({address(5, 4)!r}, 9)); s.send(b'?'); s.recv(1)\n"
            "except ConnectionRefusedError: print('refused')"
        )
        assert two.do("router", "python3", "-c", script) == "refused\n"


def test_marks_and_rules_of_others_stay(two: World, back_end: str) -> None:
    """1337 is Istio's mark, 0x4000 kube-proxy's. The last rules count who has all bits."""
    tables = program(back_end)
    others = [
        ("PREROUTING", "-p", "tcp", "-j", "CONNMARK", "--set-xmark", "0x4000/0x4000"),
        ("OUTPUT", "-p", "tcp", "-j", "MARK", "--set-xmark", "1337/0xffff"),
    ]
    mark = veth_host.RETURN_MARK
    counting = [
        ("POSTROUTING", "-p", "tcp", "-m", "mark", "--mark", f"{mark | 1337:#x}"),
        ("POSTROUTING", "-p", "tcp", "-m", "connmark", "--mark", f"{mark | 0x4000:#x}"),
    ]
    pod = make_pod(two, "pod1", 5)
    for rule in (*others, *counting):
        two.do("pod1", tables, "-t", "mangle", "-A", *rule)
    before = two.do("pod1", tables, "-t", "mangle", "-S")
    pod.apply(settle=False)
    with serving(two, "pod1", 4):
        assert seen_by(two, "router", "tcp", address(5, 4), source=FAR[4]) == FAR[4]
    counts = two.do("pod1", tables, "-t", "mangle", "-vnxL", "POSTROUTING").splitlines()[2:]
    assert [int(line.split()[0]) > 0 for line in counts] == [True, True]
    assert pod.diff() == []
    pod.undo()
    assert two.do("pod1", tables, "-t", "mangle", "-S") == before


@needs("nftables")
def test_who_writes_a_mark_as_a_whole_does_not_take_ours_away(
    two: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "_without_nftables", set())
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    new = ("-m", "conntrack", "--ctstate", "NEW", "-j", "CONNMARK", "--set-mark", "7")
    for rule in (("PREROUTING", *new), ("OUTPUT", "-j", "MARK", "--set-mark", "7")):
        two.do("pod1", "iptables-nft", "-t", "mangle", "-A", *rule)
    with serving(two, "pod1", 4):
        assert seen_by(two, "router", "tcp", address(5, 4), source=FAR[4]) == FAR[4]


def test_what_the_pod_redirects_to_a_process_of_its_own_is_answered_by_the_second_link(
    two: World, back_end: str
) -> None:
    """As Istio does with what comes in."""
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    redirect = ("-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "15006")
    two.do("pod1", program(back_end), "-t", "nat", "-A", "PREROUTING", *redirect)
    with serving(two, "pod1", 4, port=15006):
        assert seen_by(two, "router", "tcp", address(5, 4), source=FAR[4], port=80) == FAR[4]
        assert seen_by(two, "fabric", "tcp", address(5, 4), port=80) == GATEWAY[4]


def test_what_the_pod_forwards_is_answered_by_the_second_link(two: World, back_end: str) -> None:
    """A pod with a virtual machine inside: the answers come in by another link, and pass on."""
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    two.add("inner")
    two.text("pod1", *f"link add tap0 type veth peer name e0 netns {two.full('inner')}".split())
    for name, words in (
        ("pod1", "addr add 10.30.0.1/24 dev tap0"),
        ("pod1", "link set tap0 up"),
        ("inner", "addr add 10.30.0.2/24 dev e0"),
        ("inner", "link set e0 up"),
        ("inner", "route add default via 10.30.0.1"),
    ):
        two.text(name, *words.split())
    two.do("pod1", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    to_inner = ("-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "10.30.0.2:8080")
    two.do("pod1", program(back_end), "-t", "nat", "-A", "PREROUTING", *to_inner)
    with serving(two, "inner", 4):
        assert seen_by(two, "router", "tcp", address(5, 4), source=FAR[4], port=80) == FAR[4]


@pytest.mark.parametrize("version", [4, 6])
def test_a_repeated_apply_changes_nothing_and_undo_leaves_nothing(
    two: World, back_end: str, version: int
) -> None:
    pod = make_pod(two, "pod1", 5)
    rules = two.text("pod1", f"-{version}", "rule", "show")
    pod.apply(settle=False)
    once = ours(two, "pod1", version), ours(two, "node", version)
    pod.apply(settle=False)
    assert (ours(two, "pod1", version), ours(two, "node", version)) == once
    assert pod.diff() == []
    assert two.text("pod1", f"-{version}", "rule", "show") != rules
    pod.undo(veth_host.leftovers(Leftover("net1", pod.attachment)))
    pod.undo()
    assert ours(two, "pod1", version) == {}
    assert two.text("pod1", f"-{version}", "rule", "show") == rules
    # Other pods use the node's.
    assert ours(two, "node", version) == once[1]


def test_undo_of_a_further_network_leaves_what_the_first_made(two: World, back_end: str) -> None:
    """Its plan was empty, but what remains of it is named alike."""
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    further = Attachment(pod.attachment.container_id, "net1", pod.netns)
    pod.undo(veth_host.leftovers(Leftover("net2", further)))
    assert ours(two, "pod1", 4) == expected(back_end)
    assert pod.diff() == []


def test_undo_without_the_namespace_is_content(two: World) -> None:
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    netns = pod.netns
    two.remove("pod1")
    pod.undo(netns=netns)
    pod.undo(netns=None)


def failing(plan: Plan) -> Plan:
    """A plan whose last step fails."""
    last = Announcement(Side.POD, "nowhere0", ip_address("10.20.0.5"))
    return replace(plan, announcements=(last,))


def test_an_error_takes_back_what_this_call_made(two: World, back_end: str) -> None:
    pod = make_pod(two, "pod1", 5)
    with pytest.raises(CniError, match="nowhere0"):
        pod.apply(failing(pod.plan), settle=False)
    assert ours(two, "pod1", 4) == ours(two, "pod1", 6) == {}
    pod.apply(settle=False)
    with pytest.raises(CniError, match="nowhere0"):
        pod.apply(failing(pod.plan), settle=False)
    assert ours(two, "pod1", 4) == ours(two, "pod1", 6) == expected(back_end)


def _delete_table() -> None:
    with nfnetlink.connect() as sock:
        name = nfnetlink.text(1, nftables.TABLE)
        nfnetlink.commit(sock, [nfnetlink.Change(nfnetlink.DELTABLE, 0, 2, name)])


def _another_mark() -> None:
    nftables.write(4, chains_of(ReturnMark(4, "veth0", 2)))


def _nothing_but_a_chain() -> None:
    chains = chains_of(ReturnMark(4, "veth0", 2))
    nftables.write(4, [chain._replace(rules=()) for chain in chains])


@needs("nftables")
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_delete_table, "missing"),
        (_nothing_but_a_chain, "missing"),
        (_another_mark, "not those that ADD made"),
    ],
)
def test_check_names_what_became_of_the_rules_in_nftables(
    two: World, monkeypatch: pytest.MonkeyPatch, harm: Callable[[], None], says: str
) -> None:
    monkeypatch.setattr(filters, "_without_nftables", set())
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    inside(pod.netns, harm)
    sentences = pod.diff()
    assert len(sentences) == 2
    for sentence, chain in zip(sentences, RULES, strict=True):
        assert sentence.startswith("pod: what comes in by veth0 over IPv4 is not answered by it: ")
        assert f"the chain {chain} (nftables ip neutron-cni) are {says}" in sentence
    pod.apply(settle=False)
    assert pod.diff() == []


@needs("iptables-legacy")
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("-D OUTPUT -j ncni-out-veth0", "not those that ADD made"),
        ("-F ncni-out-veth0", "not those that ADD made"),
        ("-A ncni-out-veth0 -j ACCEPT", "not those that ADD made"),
    ],
)
def test_check_names_what_became_of_the_rules_in_iptables(
    two: World, monkeypatch: pytest.MonkeyPatch, harm: str, says: str
) -> None:
    monkeypatch.setattr(filters, "_without_nftables", {4, 6})
    pod = make_pod(two, "pod1", 5)
    pod.apply(settle=False)
    two.do("pod1", "ip6tables-legacy", "-t", "mangle", *harm.split())
    (sentence,) = pod.diff()
    assert f"the chain ncni-out-veth0 (ip6tables-legacy) are {says}" in sentence
    pod.apply(settle=False)
    assert pod.diff() == []


def test_a_kernel_with_neither_is_told_so(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from neutron_cni.netlink.filters import legacy

    monkeypatch.setattr(filters, "_without_nftables", {4, 6})
    monkeypatch.setattr(legacy, "_FOLDERS", ("/nowhere",))
    pod = make_pod(two, "pod1", 5)
    before = two.snapshot("node")
    with pytest.raises(
        CniError, match=r"has no nf_tables for IPv4.*no ip.*tables-legacy"
    ) as caught:
        pod.apply(settle=False)
    assert caught.value.code == Code.KERNEL
    assert "boot a kernel with nf_tables" in caught.value.details
    assert two.snapshot("node") == before


def test_a_plan_of_one_side_leaves_the_other_alone(two: World) -> None:
    two.add("pod1")
    mark = ReturnMark(4, "veth0", 1)
    made = inside(two.path("pod1"), lambda: filters.make([mark], Side.HOST, Deadline.after(5)))
    assert made == ()
    assert ours(two, "pod1", 4) == {}

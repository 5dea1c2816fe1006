"""Packet rules as values, and in the words of both back ends; nothing is asked of a kernel."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys

import pytest

from neutron_cni.netlink import nfnetlink
from neutron_cni.netlink.filters import legacy, nftables
from neutron_cni.netlink.filters.chains import Chain, Hook, chains_of
from neutron_cni.netlink.plan import NodeSource, PacketRules, ReturnMark

MARK = ReturnMark(4, "veth0", 0x20000000)
SOURCE = NodeSource(6, "vethh", 0x1000)


def in_words(item: PacketRules) -> list[str]:
    return [
        f"{chain.hook.table} {chain.hook.chain} {chain.name}: {' '.join(legacy.words(rule))}"
        for chain in chains_of(item)
        for rule in chain.rules
    ]


def test_the_return_mark_is_given_to_new_connections_and_to_their_answers_alone() -> None:
    bit = "0x20000000/0x20000000"
    marks = f"-m connmark --mark {bit} -j MARK --set-xmark {bit}"
    assert in_words(MARK) == [
        "mangle PREROUTING ncni-in-veth0: -i veth0 -m conntrack --ctstate NEW"
        f" -j CONNMARK --set-xmark {bit}",
        f"mangle PREROUTING ncni-in-veth0: -m conntrack --ctdir REPLY {marks}",
        f"mangle OUTPUT ncni-out-veth0: {marks}",
    ]


def test_the_nodes_source_is_for_what_comes_by_the_links_and_leaves_by_others() -> None:
    assert in_words(SOURCE) == [
        "mangle PREROUTING ncni-from-vethh: -i vethh+ -m rpfilter --invert -j DROP",
        "mangle PREROUTING ncni-from-vethh: -i vethh+ -j MARK --set-xmark 0x1000/0x1000",
        "mangle FORWARD ncni-fwd-vethh: -i vethh+ ! -o vethh+ -m conntrack --ctstate DNAT"
        " -j RETURN",
        "mangle FORWARD ncni-fwd-vethh: -i vethh+ ! -o vethh+ -m conntrack --ctdir REPLY -j RETURN",
        "mangle FORWARD ncni-fwd-vethh: -i vethh+ ! -o vethh+ -j DROP",
        "nat POSTROUTING ncni-src-vethh: ! -o vethh+ -m mark --mark 0x1000/0x1000"
        " -j MASQUERADE --random-fully",
    ]


@pytest.mark.parametrize("item", [ReturnMark(4, "a" * 15, 1), NodeSource(4, "b" * 15, 1)])
def test_iptables_can_have_the_names_of_the_chains(item: PacketRules) -> None:
    assert all(len(chain.name) <= 28 for chain in chains_of(item))


def test_nftables_sets_one_bit_of_a_mark() -> None:
    (chain,) = [chain for chain in chains_of(MARK) if chain.hook is Hook.OUTPUT]
    *_, load, mask, store = nftables.expressions(chain.rules[0])
    register, mark = struct.pack("!I", 1), struct.pack("!I", 3)
    assert load == ("meta", {1: register, 2: mark})
    assert store == ("meta", {2: mark, 3: register})
    keep, flip = (nfnetlink.attributes(mask[1][key])[1] for key in (4, 5))
    assert int.from_bytes(keep, sys.byteorder) == 0xDFFFFFFF
    assert int.from_bytes(flip, sys.byteorder) == 0x20000000


def test_a_links_name_is_compared_with_its_end_and_a_prefix_without() -> None:
    def compared(item: PacketRules, chain: int) -> bytes:
        (_, data) = nftables.expressions(chains_of(item)[chain].rules[0])[1]
        return nfnetlink.attributes(data[3])[1]

    assert compared(MARK, 0) == b"veth0".ljust(16, b"\0")
    assert compared(SOURCE, 0) == b"vethh"


def test_attributes_are_read_as_they_were_written() -> None:
    written = (
        nfnetlink.text(1, "neutron-cni")
        + nfnetlink.number32(2, -149)
        + nfnetlink.attribute(3, nfnetlink.number32(1, 7))
    )
    read = nfnetlink.attributes(written)
    assert read[1] == b"neutron-cni\0"
    assert struct.unpack("!i", read[2]) == (-149,)
    assert nfnetlink.attributes(read[3]) == {1: struct.pack("!I", 7)}
    assert len(written) % 4 == 0


class Kernel:
    """The kernel's end of a netlink socket, which answers as it is told."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def recv(self, _: int) -> bytes:
        return self.answers.pop(0)


def answer(number: int, errno: int) -> bytes:
    return struct.pack("=IHHIIi", 20, nfnetlink.NLMSG_ERROR, 0, number, 0, -errno)


def commit(*answers: bytes) -> Kernel:
    kernel = Kernel(*answers)
    kinds = (nfnetlink.NEWTABLE, nfnetlink.NEWCHAIN)
    changes = [nfnetlink.Change(kind, 0, 2, b"") for kind in kinds]
    nfnetlink.commit(kernel, changes)  # type: ignore[arg-type]
    return kernel


def test_all_changes_are_in_one_message_to_the_kernel() -> None:
    sent = commit(answer(1, 0), answer(2, 0)).sent
    kinds, offset = [], 0
    while offset < len(sent):
        length, kind = struct.unpack_from("=IH", sent, offset)
        kinds.append(kind)
        offset += length
    assert kinds == [0x10, nfnetlink.NEWTABLE, nfnetlink.NEWCHAIN, 0x11]
    # Whose the batch is (nf_tables), in network byte order.
    assert struct.unpack_from("=H", sent, 18) == (socket.htons(10),)


@pytest.mark.parametrize(
    ("answers", "errno"),
    [
        ([answer(0, 95)], 95),
        ([answer(0, 1), answer(1, 0)], 1),
        ([answer(1, 0), answer(2, 2)], 2),
        ([answer(1, 93), answer(2, 2)], 93),
    ],
)
def test_the_kernels_first_refusal_is_the_error(answers: list[bytes], errno: int) -> None:
    with pytest.raises(OSError, match=r"\w") as caught:
        commit(*answers)
    assert caught.value.errno == errno


def test_a_chain_that_is_there_is_not_led_to_twice() -> None:
    chain = Chain("ncni-x", Hook.OUTPUT, ())
    with_jump = legacy._section("mangle", [chain], ["-A OUTPUT -j ncni-x"])
    assert with_jump == "*mangle\n:ncni-x - [0:0]\nCOMMIT\n"
    assert "-I OUTPUT -j ncni-x" in legacy._section("mangle", [chain], [])


def test_who_has_no_packet_rules_to_make_imports_nothing_for_them() -> None:
    script = (
        "import sys, neutron_cni.netlink.apply, neutron_cni.netlink.diff;"
        "ours = 'neutron_cni.netlink.filters', 'neutron_cni.netlink.nfnetlink';"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    argv = [sys.executable, "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"

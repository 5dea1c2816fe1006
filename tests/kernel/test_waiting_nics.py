"""NICs of the node that a pod to come may get: which there are, and which are as new."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyroute2 import IPRoute

from neutron_cni.netlink import nic_facts
from tests.kernel.moved import NIC, Node, add_nic
from tests.kernel.world import World


@pytest.fixture
def node(world: World) -> Node:
    """A node with one NIC more than it needs, without an address."""
    add_nic(world)
    world.batch("node", f"addr flush dev {NIC}")
    return Node(world)


def seen(node: Node) -> bool | None:
    """Whether the NIC is as new; None if no pod may get it."""
    mac = str(node.nic()["address"])
    return node.here(nic_facts.waiting).get(mac)


def test_one_that_nobody_has_touched_is_as_new(node: Node) -> None:
    assert seen(node) is True


@pytest.mark.parametrize(
    "words",
    [
        f"address add 192.0.2.9/24 dev {NIC}",
        f"link set {NIC} promisc on",
        f"link add b0 type bridge\nlink set {NIC} master b0\nlink set b0 address 02:00:00:00:0b:0b",
    ],
    ids=["an address", "promiscuous", "a port of a bridge"],
)
def test_one_on_which_something_is_left_is_not_as_new(node: Node, words: str) -> None:
    node.world.batch("node", *words.split("\n"))
    assert seen(node) is False


@pytest.mark.parametrize(
    "words",
    [
        f"link set {NIC} up\naddress add 192.0.2.9/24 dev {NIC}\n"
        f"route add default dev {NIC} metric 500",
        f"link add link {NIC} name m0 type macvlan",
        f"link set {NIC} alias 'neutron-cni net c1 eth0 host-device'",
    ],
    ids=["a default route", "a macvlan", "an attachment's"],
)
def test_one_that_is_in_use_no_pod_may_get(node: Node, words: str) -> None:
    node.world.batch("node", *words.split("\n"))
    assert seen(node) is None


def test_one_with_the_mac_of_another_no_pod_may_get(node: Node) -> None:
    add_nic(node.world, "ens5", "r2")
    node.world.batch("node", f"link set ens5 address {node.nic()['address']}")
    assert seen(node) is None


def test_one_with_an_xdp_program_is_not_as_new(node: Node) -> None:
    def attached() -> dict[str, bool]:
        with _program() as program, IPRoute() as routes:
            (index,) = routes.link_lookup(ifname=NIC)
            routes.link("set", index=index, xdp_fd=program)
            try:
                return nic_facts.waiting()
            finally:
                routes.link("set", index=index, xdp_fd=-1)

    mac = str(node.nic()["address"])
    assert node.here(attached).get(mac) is False
    assert seen(node) is True


@contextmanager
def _program() -> Iterator[int]:
    """A descriptor of an XDP program that lets every packet pass (bpf(2), BPF_PROG_LOAD)."""
    code = struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    instructions = ctypes.create_string_buffer(code)
    licence = ctypes.create_string_buffer(b"GPL")
    wanted = struct.pack(
        "=IIQQ", 6, 2, ctypes.addressof(instructions), ctypes.addressof(licence)
    ).ljust(128, b"\0")
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    descriptor = system_call(number, 5, wanted, len(wanted))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
    try:
        yield descriptor
    finally:
        os.close(descriptor)

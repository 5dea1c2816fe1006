"""What the uplink's neighbours see on the wire when a pod comes."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from functools import partial

import pytest

from neutron_cni.netlink import announce
from neutron_cni.netlink.announce import announcement
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.values.errors import CniError, Code
from tests.kernel.pods import DUAL, ELSEWHERE, make_pod
from tests.kernel.world import World, inside, run

PATIENCE = 60.0
MARK = bytes.fromhex("ffffffffffff 020000000001 88b5") + b"mark"


def _capture(world: World, name: str, link: str) -> socket.socket:
    """A packet socket in a namespace, opened there and used here."""
    ours, theirs = socket.socketpair()

    def body() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
            sock.bind((link, 3))
            socket.send_fds(theirs, [b"x"], [sock.fileno()])

    inside(world.path(name), body)
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    for end in (ours, theirs):
        end.close()
    sock = socket.socket(fileno=descriptors[0])
    sock.settimeout(PATIENCE)
    return sock


def _frames(sock: socket.socket, *wanted: bytes) -> list[bytes]:
    """What came, to the last of those that are wanted; TimeoutError if they don't all come."""
    frames: list[bytes] = []
    while Counter(wanted) - Counter(frames):
        frames.append(sock.recv(2048))
    return frames


def _mark(world: World, name: str, link: str) -> None:
    """Send a frame that means nothing: what was sent before has come when it comes."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((link, 0))
            sender.send(MARK)

    inside(world.path(name), send)


def test_each_address_is_announced_twice_from_the_uplinks_mac(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    mac = world.ip("node", "link", "show", "up0")[0]["address"]
    v4, v6 = (item.address.ip for item in pod.lease.addresses)
    expected = [*announcement(mac, v4, router=True), *announcement(mac, v6, router=True)]
    with _capture(world, "router", "r0") as sock:
        pod.apply()
        frames = _frames(sock, *expected)

    assert [frame for frame in frames if frame in expected] == expected


def test_the_routers_neighbour_entries_move_to_the_node(world: World) -> None:
    """Both had been learned at another MAC: a pod of another node had the addresses before."""
    stale = "02:00:00:00:00:77"
    for address in ("10.10.10.19", "fd00:10::19"):
        where = ("dev", "r0", "nud", "stale")
        world.do("router", "ip", "neigh", "add", address, "lladdr", stale, *where)
    # IPv4 hosts ignore a second change within a second (locktime).
    time.sleep(1.1)
    mac = world.ip("node", "link", "show", "up0")[0]["address"]

    make_pod(world, "pod1", DUAL).apply()

    for address in ("10.10.10.19", "fd00:10::19"):
        give_up = time.monotonic() + PATIENCE
        while mac not in world.text("router", "neigh", "show", address)[0]:
            assert time.monotonic() < give_up, f"{address} is not the node's"
            time.sleep(0.05)


def test_what_the_node_does_not_answer_for_is_not_announced(world: World) -> None:
    """Another IPAM's address, of no subnet of the NIC's."""
    pod = make_pod(world, "pod1", ELSEWHERE)
    with _capture(world, "router", "r0") as sock:
        pod.apply()
        _mark(world, "node", "up0")
        frames = _frames(sock, MARK)

    assert [frame for frame in frames if frame[12:14] == struct.pack("!H", 0x0806)] == []


def test_a_pod_announces_its_own_address_without_the_router_flag(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    address = pod.lease.addresses[1].address.ip
    mac = pod.veth.pod_mac
    with _capture(world, "node", pod.host_link) as sock:
        inside(pod.netns, lambda: announce.send("eth0", mac, [address], router=False))
        assert _frames(sock, announcement(mac, address, router=False)[0])


def test_what_was_announced_is_announced_again_from_the_node_and_from_the_pod(
    world: World,
) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    mac = world.ip("node", "link", "show", "up0")[0]["address"]
    address = pod.lease.addresses[0].address.ip
    with (
        _capture(world, "router", "r0") as of_node,
        _capture(world, "node", pod.host_link) as of_pod,
    ):
        again = [*pod.plan.announcements, Announcement(Side.POD, "eth0", address)]
        inside(world.path("node"), lambda: announce.send_from(again, pod.netns))
        _frames(of_node, *announcement(mac, address, router=True))
        _frames(of_pod, *announcement(pod.veth.pod_mac, address, router=False))


def test_nothing_is_sent_from_a_link_that_is_not_there(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    address = pod.lease.addresses[0].address.ip
    gone = [Announcement(Side.POD, "net9", address)]
    for netns, code in ((pod.netns, Code.KERNEL), ("/nowhere", Code.INVALID_ENVIRONMENT)):
        with pytest.raises(CniError) as caught:
            inside(world.path("node"), partial(announce.send_from, gone, netns))
        assert caught.value.code == code


def test_tcpdump_finds_the_checksum_right(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    mac = world.ip("node", "link", "show", "up0")[0]["address"]
    frame = announcement(mac, pod.lease.addresses[1].address.ip, router=True)[0]
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    path = f"/tmp/nct-{world.full('na')}.pcap"
    with open(path, "wb") as sink:
        sink.write(header + record)
    text = run("tcpdump", "-n", "-vv", "-r", path)
    run("rm", path)

    assert "[icmp6 sum ok]" in text
    assert "tgt is fd00:10::19, Flags [router, override]" in text

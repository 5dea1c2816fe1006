"""Tells the hosts on a link where an address is: gratuitous ARP, unsolicited NA.

The announcements are sent as whole Ethernet frames (AF_PACKET), because the address need not be
one of the link's own: the node announces addresses of pods that it answers for. RFC 5227 section
3 and RFC 4861 sections 4.4 and 7.2.6.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from neutron_cni.netlink import links
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ICMPV6 = 58
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000


def send_all(
    wanted: Sequence[Announcement], rtnl: Callable[[Side], Rtnl], pod: Namespace | None
) -> None:
    """Send what is wanted of each link, with the MAC that it has: the node's from the caller's
    namespace, the pod's from `pod`. `rtnl` gives a socket in either.

    Raises CniError KERNEL if a link is not there, or is down.
    """
    by_link: dict[tuple[Side, str], list[IPAddress]] = {}
    for item in wanted:
        by_link.setdefault((item.side, item.link), []).append(item.address)
    for (side, name), announced in by_link.items():
        link = links.get(rtnl(side), name)
        if link is None:
            raise CniError(Code.KERNEL, f"cannot announce on {name} ({side}): no such link")
        # The node is a router for the pod's address; the pod itself is none.
        sending = partial(send, name, link.mac, announced, router=side is Side.HOST)
        if side is Side.HOST:
            sending()
        elif pod is not None:
            pod.call(sending)


def send_from(wanted: Sequence[Announcement], netns: str) -> None:
    """The same for whoever has no sockets yet; `netns` is the path of the pod's namespace.

    Raises CniError, INVALID_ENVIRONMENT if something is to be sent in the pod and that is gone.
    """
    with ExitStack() as open_things:
        pod, sockets = None, {}
        if any(item.side is Side.POD for item in wanted):
            pod = open_things.enter_context(Namespace.open_pod(netns))
            sockets[Side.POD] = open_things.enter_context(Rtnl.inside(pod))
        if any(item.side is Side.HOST for item in wanted):
            sockets[Side.HOST] = open_things.enter_context(Rtnl.here())
        send_all(wanted, sockets.__getitem__, pod)


def send(link: str, mac: str, addresses: Iterable[IPAddress], *, router: bool) -> None:
    """Send two frames for each address from `link` of the calling thread's namespace.

    `mac` is the one to announce, "02:00:00:00:00:01"; `router` as for `announcement`. Two frames,
    because receivers acknowledge none. Raises CniError KERNEL if a frame can't be sent.
    """
    try:
        # Protocol 0: the socket receives nothing.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            sock.bind((link, 0))
            for address in addresses:
                for frame in announcement(mac, address, router=router):
                    sock.send(frame)
        finally:
            # Closing a packet socket takes 12 ms (packet_release waits for RCU), so a thread does.
            threading.Thread(target=sock.close, name="close announcer", daemon=True).start()
    except OSError as error:
        raise CniError(Code.KERNEL, f"cannot announce on {link}: {error.strerror}") from error


def announcement(mac: str, address: IPAddress, *, router: bool) -> tuple[bytes, bytes]:
    """The frames that say: `address` is at `mac`.

    `router`: the sender forwards for the address (the NA's R flag).
    """
    source = bytes.fromhex(mac.replace(":", ""))
    if isinstance(address, IPv4Address):
        # Once as request and once as reply, as some stacks and switches take only one of them.
        return _arp(source, address, 1), _arp(source, address, 2)
    frame = _advertisement(source, address, router=router)
    return frame, frame


def _arp(mac: bytes, address: IPv4Address, operation: int) -> bytes:
    ethernet = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    target = mac if operation == 2 else bytes(6)
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet + fixed + mac + address.packed + target + address.packed


def _advertisement(mac: bytes, address: IPv6Address, *, router: bool) -> bytes:
    flags = _OVERRIDE | (_ROUTER if router else 0)
    # Option 2: target link-layer address, in units of 8 bytes.
    option = struct.pack("!BB", 2, 1) + mac
    body = struct.pack("!BBHI", 136, 0, 0, flags) + address.packed + option
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!I3xB", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    # Hop limit 255: receivers drop an NA with a lower one, as a router must have forwarded it.
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255)
    ethernet = _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_P_IPV6)
    return ethernet + header + address.packed + _ALL_NODES.packed + body


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""Ethernet frames that ask for a neighbour or tell of one: ARP, and ICMPv6's neighbour discovery.

They are sent as they are (AF_PACKET), because their sender's address need not be one of the link's
own: the node asks and tells for pods. RFC 826, RFC 5227 and RFC 4861.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86DD
REQUEST, REPLY = 1, 2
"""Operations of ARP."""
SOLICITATION, ADVERTISEMENT = 135, 136
"""Types of ICMPv6."""
_SOURCE_LINK_ADDRESS, _TARGET_LINK_ADDRESS = 1, 2
_ICMPV6 = 58
_BROADCAST = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")


@contextmanager
def packet_socket() -> Iterator[socket.socket]:
    """A socket for frames of the calling thread's namespace; it receives nothing until it is bound
    with a protocol. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        yield sock
    finally:
        # Closing a packet socket takes 12 ms (packet_release waits for RCU), so a thread does.
        threading.Thread(target=sock.close, name="close packets", daemon=True).start()


def arp(
    operation: int, mac: bytes, sender: IPv4Address, target: IPv4Address, target_mac: bytes
) -> bytes:
    """A broadcast of ARP; `mac` is the sender's."""
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    ethernet = _BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
    return ethernet + fixed + mac + sender.packed + target_mac + target.packed


def neighbour_discovery(
    kind: int, mac: bytes, sender: IPv6Address, to: IPv6Address, target: IPv6Address, flags: int = 0
) -> bytes:
    """A solicitation or an advertisement of `target` to the multicast group `to`, with `mac`."""
    of = _SOURCE_LINK_ADDRESS if kind == SOLICITATION else _TARGET_LINK_ADDRESS
    option = struct.pack("!BB", of, 1) + mac  # The 1 is its length in units of 8 bytes.
    body = struct.pack("!BBHI", kind, 0, 0, flags) + target.packed + option
    pseudo = sender.packed + to.packed + struct.pack("!I3xB", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    # Hop limit 255: receivers drop one with a lower one, as a router must have forwarded it.
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255)
    ethernet = b"\x33\x33" + to.packed[-4:] + mac + struct.pack("!H", ETH_P_IPV6)
    return ethernet + header + sender.packed + to.packed + body


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

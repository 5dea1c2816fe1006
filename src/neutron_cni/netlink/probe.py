"""Asks a gateway, in a pod's name, whether the network lets the pod's packets pass yet.

On ML2/OVS Neutron answers before the VM's port lets a new address pass, up to two seconds, and its
API does not tell when. What tells is a question for the gateway's MAC with the pod's address as the
sender: port security drops it until then, and after that the gateway answers.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from neutron_cni.netlink import frames
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.values.address import IPAddress
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

_AGAIN_SECONDS = 0.1
_SO_ATTACH_FILTER = 26
_ADVERTISEMENTS = struct.pack(
    "=" + "HBBI" * 6,
    *(0x30, 0, 0, 20),  # the byte that says what follows the header of IPv6
    *(0x15, 0, 3, 58),  # ICMPv6, or drop it
    *(0x30, 0, 0, 54),  # its type
    *(0x15, 0, 1, frames.ADVERTISEMENT),
    *(0x06, 0, 0, 0x40000),  # take it
    *(0x06, 0, 0, 0),  # drop it
)
"""A filter of the kernel's (BPF), as a NIC may carry more IPv6 than we could look at."""


def gateway_answers(
    source: Announcement, gateway: IPAddress, netns: str, deadline: Deadline
) -> bool:
    """Whether `gateway` has answered the address of `source`, asked from its link, in time.

    `netns` is the path of the pod's namespace. Raises CniError KERNEL if nothing can be sent.
    """
    asking = partial(_ask, source.link, source.address, gateway, deadline)
    if source.side is Side.HOST:
        return asking()
    with Namespace.open_pod(netns) as pod:
        return pod.call(asking)


def _ask(link: str, address: IPAddress, gateway: IPAddress, deadline: Deadline) -> bool:
    try:
        with frames.packet_socket() as sock:
            if address.version == 6:
                _take_advertisements_only(sock)
            sock.bind((link, frames.ETH_P_ARP if address.version == 4 else frames.ETH_P_IPV6))
            question = _question(sock.getsockname()[4], address, gateway)
            while deadline.left > 0:
                sock.send(question)
                if _hears(sock, address, gateway, deadline.at_most(_AGAIN_SECONDS)):
                    return True
    except OSError as error:
        raise CniError(Code.KERNEL, f"cannot ask {gateway} on {link}: {error.strerror}") from error
    return False


def _hears(sock: socket.socket, address: IPAddress, gateway: IPAddress, deadline: Deadline) -> bool:
    while deadline.left > 0:
        sock.settimeout(deadline.left or 0.001)
        try:
            if _is_answer(sock.recv(2048), address, gateway):
                return True
        except TimeoutError:
            return False
    return False


def _question(mac: bytes, address: IPAddress, gateway: IPAddress) -> bytes:
    if isinstance(address, IPv4Address) and isinstance(gateway, IPv4Address):
        return frames.arp(frames.REQUEST, mac, address, gateway, bytes(6))
    assert isinstance(address, IPv6Address), "an address and its gateway are of one version"
    assert isinstance(gateway, IPv6Address), "an address and its gateway are of one version"
    group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + gateway.packed[13:])
    return frames.neighbour_discovery(frames.SOLICITATION, mac, address, group, gateway)


def _is_answer(frame: bytes, address: IPAddress, gateway: IPAddress) -> bool:
    """Whether it is the gateway's reply to the address: what it answers the node, or another pod
    that shares the link, does not tell whether this address passes."""
    if address.version == 4:
        operation, sender, target = frame[20:22], frame[28:32], frame[38:42]
        is_reply = operation == struct.pack("!H", frames.REPLY)
        return is_reply and sender == gateway.packed and target == address.packed
    is_advertisement = frame[54:55] == bytes([frames.ADVERTISEMENT])
    return is_advertisement and frame[62:78] == gateway.packed and frame[38:54] == address.packed


def _take_advertisements_only(sock: socket.socket) -> None:
    program = ctypes.create_string_buffer(_ADVERTISEMENTS)
    wanted = struct.pack("HL", len(_ADVERTISEMENTS) // 8, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, wanted)

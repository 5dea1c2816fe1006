"""Which chains of the node drop forwarded packets that no rule accepts.

Docker, ufw and firewalld make such chains, and then pods reach nothing and nobody says why. They
are looked for by name, as a node with kube-proxy may have thousands of chains, in both of the
kernel's rule sets: nftables, in which iptables keeps its rules today, and the older one
(iptables-legacy). No rule and no table is made.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from neutron_cni.netlink import nfnetlink
from neutron_cni.netlink.facts import ForwardDrop

_TABLE, _NAME, _HOOK, _POLICY = 1, 3, 4, 5
_HOOK_NUMBER = 1
_HOOK_FORWARD = 2
_DROP = 0
_FAMILIES = {1: ("inet", (4, 6)), 2: ("ip", (4,)), 10: ("ip6", (6,))}
_FIREWALLD = (1, "firewalld", "filter_FORWARD")
"""firewalld's chain has no policy: its last rule rejects what its zones do not accept."""
_CHAINS = (
    (2, "filter", "FORWARD"),
    (10, "filter", "FORWARD"),
    (1, "filter", "FORWARD"),
    (1, "filter", "forward"),
    _FIREWALLD,
)
"""What Docker and ufw use (by iptables), and what examples for nftables call such a chain."""

_libc = ctypes.CDLL(None, use_errno=True)
_GET_INFO, _GET_ENTRIES = 64, 65
_LEGACY = {4: (socket.SOL_IP, "ip", 112), 6: (socket.IPPROTO_IPV6, "ip6", 168)}
"""By IP version: the level of the socket options, the prefix of the names, and the bytes of an
entry before its target (struct ipt_entry, struct ip6t_entry)."""
_INFO = struct.Struct("=32sI5I5III")
_ENTRIES_HEAD = 40
_TARGET_HEAD = 32
_VERDICT_DROP = -1


def forward_drops() -> tuple[ForwardDrop, ...]:
    """All such chains of the caller's network namespace.

    None where they can't be read: a hint is not worth a failed ADD.
    """
    found: list[ForwardDrop] = []
    with suppress(OSError, struct.error):
        found += _nftables()
    for version in _LEGACY:
        with suppress(OSError, struct.error):
            found += _legacy(version)
    return tuple(found)


def _nftables() -> Iterator[ForwardDrop]:
    requests = b"".join(_ask_for(number, *chain) for number, chain in enumerate(_CHAINS))
    with closing(nfnetlink.connect()) as sock:
        sock.send(requests)
        answered = 0
        while answered < len(_CHAINS):
            for answer in nfnetlink.receive(sock):
                if answer.kind == nfnetlink.NEWCHAIN:
                    yield from _read_chain(answer.attributes, _CHAINS[answer.number])
                answered += 1


def _ask_for(number: int, family: int, table: str, chain: str) -> bytes:
    """The request number `number`, for one chain; the kernel answers ENOENT where there is none."""
    names = nfnetlink.text(_TABLE, table) + nfnetlink.text(_NAME, chain)
    return nfnetlink.message(nfnetlink.GETCHAIN, family, names, number=number)


def _read_chain(chain: dict[int, bytes], asked: tuple[int, str, str]) -> Iterator[ForwardDrop]:
    family, versions = _FAMILIES[asked[0]]
    hook = nfnetlink.attributes(chain.get(_HOOK, b"")).get(_HOOK_NUMBER, b"")
    forwards = int.from_bytes(hook, "big") == _HOOK_FORWARD
    drops = _POLICY in chain and int.from_bytes(chain[_POLICY], "big") == _DROP
    if forwards and (drops or asked == _FIREWALLD):
        yield ForwardDrop(f"nftables {family} {asked[1]} {asked[2]}", versions)


def _legacy(version: int) -> Iterator[ForwardDrop]:
    """The policy of FORWARD: the verdict of the chain's last entry (struct ipt_getinfo.underflow).

    The kernel makes a table when it is asked for one, so only those in the list are.
    """
    level, prefix, entry_bytes = _LEGACY[version]
    if "filter" not in Path(f"/proc/thread-self/net/{prefix}_tables_names").read_text().split():
        return
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with closing(socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)) as sock:
        info = _INFO.unpack(_ask(sock, level, _GET_INFO, b"filter".ljust(_INFO.size, b"\0")))
        underflow, size = info[7:12], info[13]
        head = struct.pack("=32sI", b"filter", size).ljust(_ENTRIES_HEAD, b"\0")
        entries = _ask(sock, level, _GET_ENTRIES, head.ljust(_ENTRIES_HEAD + size, b"\0"))
    last = _ENTRIES_HEAD + underflow[_HOOK_FORWARD] + entry_bytes + _TARGET_HEAD
    if struct.unpack_from("=i", entries, last)[0] == _VERDICT_DROP:
        yield ForwardDrop(f"{prefix}tables-legacy FORWARD", (version,))


def _ask(sock: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """What getsockopt makes of `question`, which Python's own getsockopt can't hand over."""
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    if _libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw

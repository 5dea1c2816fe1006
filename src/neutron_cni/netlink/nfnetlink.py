"""Messages to and from the kernel's packet filter (nfnetlink, nf_tables), encoded by hand.

pyroute2's module for nftables takes 57 ms to import; `firewall` and `filters` are used at ADD. The
numbers are those of include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_CREATE, NLM_F_APPEND = 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
_NLM_F_DUMP_INTR = 0x10

_NF_TABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
NEWTABLE, DELTABLE = _NF_TABLES << 8 | 0, _NF_TABLES << 8 | 2
NEWCHAIN, GETCHAIN, DELCHAIN = (_NF_TABLES << 8 | number for number in (3, 4, 5))
NEWRULE, GETRULE, DELRULE = (_NF_TABLES << 8 | number for number in (6, 7, 8))

FAMILY = {4: 2, 6: 10}
"""Address family by IP version: NFPROTO_IPV4, NFPROTO_IPV6."""

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")
_GENERAL = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_SECONDS = 5.0
_RECEIVE_BYTES = 1 << 16


class Answer(NamedTuple):
    """A message of the kernel: nlmsg_type, nlmsg_flags, the number of the request, what is in it.

    `errno` is that of an NLMSG_ERROR (0: success), `attributes` are those of any other message.
    """

    kind: int
    flags: int
    number: int
    errno: int
    attributes: dict[int, bytes]


def connect() -> socket.socket:
    """A socket to the packet filter of the calling thread's network namespace; raises OSError."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
    sock.settimeout(_SECONDS)
    return sock


def message(
    kind: int, family: int, attributes: bytes = b"", *, flags: int = 0, number: int = 0
) -> bytes:
    """One message; NLM_F_REQUEST is set. The kernel's answer carries `number`."""
    return _message(kind, family, 0, attributes, flags, number)


def _message(
    kind: int, family: int, resource: int, attributes: bytes, flags: int, number: int
) -> bytes:
    # The resource is in network byte order.
    payload = _GENERAL.pack(family, 0, socket.htons(resource)) + attributes
    size = _HEADER.size + len(payload)
    return _HEADER.pack(size, kind, NLM_F_REQUEST | flags, number, 0) + payload


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute with its padding. One that holds others (nested) is encoded alike."""
    padding = b"\0" * (-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def text(kind: int, value: str) -> bytes:
    """An attribute with a text, which the kernel wants to end in NUL."""
    return attribute(kind, os.fsencode(value) + b"\0")


def number32(kind: int, value: int) -> bytes:
    """An attribute with a number of 32 bits, in network byte order."""
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """What is in `data`, by the attributes' kinds; of several of one kind the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute in `data`, in their order."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        # The two upper bits say "nested" and "in network byte order".
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def receive(sock: socket.socket) -> Iterator[Answer]:
    """The messages of one datagram; raises OSError (TimeoutError after 5 s)."""
    data = sock.recv(_RECEIVE_BYTES)
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, offset)
        payload = data[offset + _HEADER.size : offset + length]
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
            yield Answer(kind, flags, number, code, {})
        else:
            yield Answer(kind, flags, number, 0, attributes(payload[_GENERAL.size :]))
        offset += max(_HEADER.size, (length + 3) & ~3)


def dump(sock: socket.socket, kind: int, family: int, wanted: bytes) -> list[dict[int, bytes]]:
    """The attributes of all objects that the kernel lists; raises OSError.

    `wanted` are attributes that narrow the list, where the kernel knows how to. A list that
    somebody's change disturbed (kube-proxy makes many) is taken again, three times.
    """
    for _ in range(3):
        found, whole = _dump_once(sock, kind, family, wanted)
        if whole:
            break
    return found


def _dump_once(
    sock: socket.socket, kind: int, family: int, wanted: bytes
) -> tuple[list[dict[int, bytes]], bool]:
    sock.send(message(kind, family, wanted, flags=NLM_F_DUMP, number=1))
    found: list[dict[int, bytes]] = []
    whole = True
    while True:
        for answer in receive(sock):
            whole = whole and not answer.flags & _NLM_F_DUMP_INTR
            if answer.kind in (NLMSG_ERROR, NLMSG_DONE):
                if answer.errno:
                    raise OSError(answer.errno, os.strerror(answer.errno))
                return found, whole
            found.append(answer.attributes)


class Change(NamedTuple):
    """A change to nf_tables: nlmsg_type, nlmsg_flags, the family that it is for, attributes."""

    kind: int
    flags: int
    family: int
    attributes: bytes


def commit(sock: socket.socket, changes: Sequence[Change]) -> None:
    """Have the kernel make all `changes`, or none of them; raises OSError with its first refusal.

    A commit that removes something takes the kernel 15 ms (it waits for RCU).
    """
    parts = [_message(_BATCH_BEGIN, 0, _NF_TABLES, b"", 0, 0)]
    for number, (kind, flags, family, given) in enumerate(changes, 1):
        parts.append(message(kind, family, given, flags=flags | NLM_F_ACK, number=number))
    parts.append(_message(_BATCH_END, 0, _NF_TABLES, b"", 0, len(changes) + 1))
    sock.send(b"".join(parts))
    last, refused = 0, 0
    # A refusal of the whole batch is an answer to its begin, number 0, and comes first.
    while last < len(changes) and not (last == 0 and refused):
        for answer in receive(sock):
            last = max(last, answer.number)
            refused = refused or answer.errno
    if refused:
        raise OSError(refused, os.strerror(refused))

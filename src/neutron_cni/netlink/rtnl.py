"""A synchronous rtnetlink socket: many requests in one send, each answer matched to its request.

pyroute2 encodes and decodes the messages (see `messages`). Its sockets are not used, because they
fork for a namespace and run an event loop per socket (IPRoute() takes 0.5 ms to open here, 6-9 ms
with `netns=`; this class takes 0.01 ms and 0.15 ms). The kernel handles a send of several messages
in order and within the system call, so all are done even if the process is killed meanwhile.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from neutron_cni.netlink.namespace import Identity, Namespace, own_identity, socket_identity
from neutron_cni.values.errors import CniError, Code

Message = Any
"""A pyroute2 message (nlmsg). pyroute2 has no type annotations."""

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_DUMP_INTR, _NLM_F_ACK_TLVS = 0x10, 0x200
_SOL_NETLINK, _EXT_ACK, _GET_STRICT_CHK, _CAP_ACK = 270, 11, 12, 10
_HEADER = struct.Struct("=IHHII")
_TIMEOUT_SECONDS = 10.0
_RECEIVE_BYTES = 1 << 18
_BATCH = 64
"""The most requests in one send. The kernel drops answers that the socket's buffer has no room
for (ENOBUFS), and the answers to 300 were too many."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel, and which errno values count as success (`accept`).

    `doing` says in words what the message does: "add the route X to eth0". `hints` say, by errno,
    what is wrong where the kernel's own words do not.
    """

    message: Message
    doing: str
    accept: frozenset[int] = frozenset()
    hints: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The kernel's answer to a request: errno (0: success), and its explanation, if it gave one."""

    request: Request
    errno: int
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the request succeeded, or failed with an errno that it accepts."""
        return self.errno == 0 or self.errno in self.request.accept

    def error(self) -> CniError:
        """The failure as a CniError KERNEL."""
        reason = os.strerror(self.errno) + (f": {self.text}" if self.text else "")
        hint = "CAP_NET_ADMIN is needed" if self.errno == errno.EPERM else ""
        hint = self.request.hints.get(self.errno, hint)
        return CniError(Code.KERNEL, f"cannot {self.request.doing}: {reason}", hint)


class Rtnl:
    """An rtnetlink socket in one network namespace, for one thread at a time."""

    def __init__(self, expected: Identity) -> None:
        """Open a socket in the calling thread's namespace, which must be `expected`.

        Raises CniError KERNEL if the socket is in another one.
        """
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0
        try:
            served = socket_identity(self._sock)
            if served != expected:
                raise CniError(
                    Code.KERNEL, f"the netlink socket serves namespace {served}, not {expected}"
                )
            for option in (_EXT_ACK, _CAP_ACK, _GET_STRICT_CHK):
                self._sock.setsockopt(_SOL_NETLINK, option, 1)
            self._sock.bind((0, 0))
            self._sock.settimeout(_TIMEOUT_SECONDS)
        except BaseException:
            self._sock.close()
            raise

    @classmethod
    def here(cls) -> Rtnl:
        """A socket in the calling thread's own namespace."""
        return cls(own_identity())

    @classmethod
    def inside(cls, namespace: Namespace) -> Rtnl:
        """A socket in `namespace`, usable from any thread."""
        return namespace.call(lambda: cls(namespace.identity))

    def attempt(self, requests: Sequence[Request]) -> list[Outcome]:
        """Send all requests and return the outcome of each, in their order.

        A request that fails stops none of the others. Raises CniError KERNEL only if the kernel
        does not answer.
        """
        return [
            outcome
            for start in range(0, len(requests), _BATCH)
            for outcome in self._attempt(requests[start : start + _BATCH])
        ]

    def _attempt(self, requests: Sequence[Request]) -> list[Outcome]:
        first = self._sequence + 1
        data = b"".join(self._encode(request.message, NLM_F_ACK) for request in requests)
        self._send(data)
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < len(requests):
            for kind, flags, sequence, payload in self._receive():
                if kind == _NLMSG_ERROR and first <= sequence < first + len(requests):
                    number, text = _error(payload, flags)
                    outcomes[sequence] = Outcome(requests[sequence - first], number, text)
        return [outcomes[first + index] for index in range(len(requests))]

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Like `attempt`; then raises CniError KERNEL for the first outcome that is not `ok`."""
        outcomes = self.attempt(requests)
        for outcome in outcomes:
            if not outcome.ok:
                raise outcome.error()
        return outcomes

    def get(self, message: Message, doing: str, absent: frozenset[int]) -> Message | None:
        """The object that `message` asks for, None if the kernel answers with an errno of `absent`.

        Raises CniError KERNEL for any other errno.
        """
        data = self._encode(message, 0)
        self._send(data)
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != _NLMSG_ERROR:
                    return _decode(type(message), kind, flags, sequence, payload)
                number, text = _error(payload, flags)
                if number in absent:
                    return None
                raise Outcome(Request(message, doing), number, text).error()

    def dump(
        self,
        message: Message,
        doing: str,
        wanted: Callable[[bytes], bool] | None = None,
        absent: frozenset[int] = frozenset(),
    ) -> list[Message]:
        """All objects that `message` asks for; none if the kernel's errno is one of `absent`.

        `wanted` says from the raw payload whether an object is to be decoded and returned. A dump
        that a change disturbed, as the kernel says by NLM_F_DUMP_INTR, is taken again (three
        times). Raises CniError KERNEL.
        """
        for _ in range(3):
            found, whole = self._dump_once(message, doing, wanted, absent)
            if whole:
                return found
        return found

    def _dump_once(
        self,
        message: Message,
        doing: str,
        wanted: Callable[[bytes], bool] | None,
        absent: frozenset[int],
    ) -> tuple[list[Message], bool]:
        self._send(self._encode(message, NLM_F_DUMP))
        found: list[Message] = []
        whole = True
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    number, text = _error(payload, flags) if len(payload) >= 4 else (0, "")
                    # ENOENT: a routing table that has never had a route. ENODEV: the link whose
                    # objects were asked for is gone by now, and its objects with it.
                    if number not in (0, errno.ENOENT, errno.ENODEV) and number not in absent:
                        raise Outcome(Request(message, doing), number, text).error()
                    return found, whole
                if wanted is None or wanted(payload):
                    found.append(_decode(type(message), kind, flags, sequence, payload))

    def _encode(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        message["header"]["flags"] = message["header"]["flags"] | NLM_F_REQUEST | flags
        message["header"]["sequence_number"] = self._sequence
        message.reset()
        message.encode()
        return bytes(message.data)

    def _send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except OSError as error:
            raise CniError(Code.KERNEL, f"netlink: {error.strerror}") from error

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, sequence, payload) of each message of one datagram."""
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except TimeoutError as error:
            raise CniError(
                Code.KERNEL, f"the kernel did not answer on netlink for {_TIMEOUT_SECONDS:g} s"
            ) from error
        except OSError as error:
            raise CniError(Code.KERNEL, f"netlink: {error.strerror}") from error
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3

    def close(self) -> None:
        """Close the socket; repeated calls are fine."""
        self._sock.close()

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _decode(shape: type[Message], kind: int, flags: int, sequence: int, payload: bytes) -> Message:
    header = _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0)
    message = shape(header + payload)
    message.decode()
    return message


def _error(payload: bytes, flags: int) -> tuple[int, str]:
    """(errno, the kernel's explanation) from the payload of an NLMSG_ERROR or NLMSG_DONE."""
    (negative,) = struct.unpack_from("=i", payload)
    text = ""
    # With NETLINK_CAP_ACK an NLMSG_ERROR carries the request's bare header, then the TLVs.
    offset = 4 + _HEADER.size
    if flags & _NLM_F_ACK_TLVS:
        while offset + 4 <= len(payload):
            length, kind = struct.unpack_from("=HH", payload, offset)
            if length < 4:
                break
            if kind == 1:  # NLMSGERR_ATTR_MSG
                text = payload[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
            offset += (length + 3) & ~3
    return -negative, text

"""Waits until a NIC is there; the kernel tells of every link that comes."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from neutron_cni.netlink.nics import Nic, Selector
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

_LINKS = 1
"""The multicast group of changes to links, as a mask (RTMGRP_LINK)."""
_LONGEST_LOOK = 1.0
"""Seconds after which is looked again without a word from the kernel: a full buffer drops them."""
_RECEIVE_BYTES = 1 << 16


class LinkEvents:
    """Hears of changes to links in the namespace of the thread that makes it, from then on."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        try:
            self._socket.bind((0, _LINKS))
        except BaseException:
            self._socket.close()
            raise

    def wait(self, seconds: float) -> None:
        """Return after a change, or after so many seconds."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000):
            with suppress(OSError):  # Nothing left, or ENOBUFS: more came than there was room for.
                while True:
                    self._socket.recv(_RECEIVE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


def await_nic(
    selector: Selector, look: Callable[[], tuple[Nic, ...]], deadline: Deadline
) -> tuple[Nic, ...]:
    """What `look` finds as soon as it is something.

    Raises CniError TRY_AGAIN if that does not come by the deadline.
    """
    with LinkEvents() as events:
        while True:
            found = look()
            if found:
                return found
            if deadline.left <= 0:
                raise CniError(
                    Code.TRY_AGAIN,
                    f"the node has no NIC {selector}, though Nova attached its port",
                    "`dmesg` tells whether the kernel saw it come; hot-plug needs acpiphp "
                    "or pciehp, and a free slot",
                )
            events.wait(min(_LONGEST_LOOK, deadline.left))

"""A node's DHCP client (udhcpc), which is told when to renew its lease, and what it hears then."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from neutron_cni_lab import Node

_SCRIPT = """#!/bin/sh
# udhcpc calls it with what happened; the address is the client's, to renew it from.
echo "$1 ${ip:-}" >>/run/dhcp/events
case "$1" in
bound | renew)
    ip addr replace "$ip/$mask" dev "$interface" valid_lft "$lease" preferred_lft "$lease"
    ;;
esac
"""
_ANSWER_SECONDS = 60.0


class DhcpClient:
    """What happened to a node's lease, as words of udhcpc: `bound`, `renew`, `nak`, `deconfig`."""

    def __init__(self, node: Node, process: subprocess.Popen[bytes]) -> None:
        self._node = node
        self._process = process

    @property
    def events(self) -> list[tuple[str, str]]:
        """All that happened so far, each with the address that it is about, if any."""
        lines = self._node.exec(["cat", "/run/dhcp/events"], check=False).stdout.splitlines()
        return [(what, address) for what, _, address in (line.partition(" ") for line in lines)]

    def bound(self) -> str:
        """The address of the lease that a client was given which knew of none."""
        what, address = self.next(0)
        if what == "deconfig":
            what, address = self.next(1)
        assert what == "bound", self.events
        return address

    def renew(self) -> tuple[str, str]:
        """Ask the server for the lease again; the first thing that comes of it."""
        before = len(self.events)
        self._process.send_signal(signal.SIGUSR1)
        return self.next(before)

    def next(self, before: int) -> tuple[str, str]:
        """The event after the first `before` ones; fails if there is none for a minute."""
        give_up = time.monotonic() + _ANSWER_SECONDS
        while len(found := self.events) <= before:
            assert time.monotonic() < give_up, f"DHCP: nothing happened after {found}"
            time.sleep(0.1)
        return found[before]


@contextmanager
def dhcp_client(node: Node) -> Iterator[DhcpClient]:
    """A client that has asked for a lease, as one does when its node boots."""
    script = (
        "mkdir -p /run/dhcp; rm -f /run/dhcp/*; cat >/run/dhcp/script; chmod +x /run/dhcp/script"
    )
    node.exec(["sh", "-c", script], input=_SCRIPT)
    words = ["udhcpc", "--foreground", "--interface", "eth0", "--script", "/run/dhcp/script"]
    quiet = subprocess.DEVNULL
    with node.popen(words, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield DhcpClient(node, process)
        finally:
            process.kill()

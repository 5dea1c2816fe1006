"""What the page of a mode works with: store, Neutron, node, and the anchor that it serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from neutron_cni.ipam.anchors import blocked_fact
from neutron_cni.ipam.locate import UplinkFacts
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.store import Record, State, Store
from neutron_cni.store.sandbox import inode_of
from neutron_cni.values.address import IPAddress
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import IpamConfig

NamespaceWith = Callable[[IPAddress], str]
"""The network namespace of this node that has the address, empty when none has."""


@dataclass(frozen=True, slots=True)
class Context:
    """One anchor, and all that is needed to serve it.

    `install`: this installation's id in Neutron's tags (6 hex digits).

    `configs`: those of the networks that share the anchor, the newest last. What concerns one
    lease follows the configuration in its own record; what concerns all, such as finding the VM's
    port, the newest.

    `waiting_nics`: the MACs of this node's NICs that a pod may get, each with whether it is as new.

    `caller`: the row of the lease whose ADD has the lock, 0 where it is no ADD.
    """

    store: Store
    neutron: Neutron
    configs: tuple[IpamConfig, ...]
    anchor: str
    install: str
    deadline: Deadline
    uplink: UplinkFacts
    namespace_with: NamespaceWith
    random: Random
    waiting_nics: Callable[[], dict[str, bool]]
    caller: int = 0

    @property
    def config(self) -> IpamConfig:
        """The newest configuration."""
        return self.configs[-1]

    def over_quarantine(self) -> list[int]:
        """Rows of the anchor's leases of this mode whose quarantine is over.

        A recovered lease was put into quarantine because no namespace had its address, perhaps
        because the main plugin had not given it one yet. If a namespace has the address now, the
        lease is held again, and not returned.
        """
        over: list[int] = []
        for record in self.records():
            if record.state is not State.COOLING or record.until > time.time():
                continue
            used_in = "" if record.attachment.container_id else self._used_in(record)
            if used_in:
                self.store.hold_again(record.id, used_in, inode_of(used_in))
            else:
                over.append(record.id)
        return over

    def note_blocked(self, addresses: Iterable[IPAddress], why: str | None) -> None:
        """Write down why the cloud does not let these addresses go, for `neutron-cni leases`; None
        where nothing is in the way any more."""
        for address in addresses:
            fact = blocked_fact(self.anchor, address)
            if why is not None or self.store.fact(fact) is not None:
                self.store.remember(fact, why)

    def _used_in(self, record: Record) -> str:
        found = (self.namespace_with(item.address) for item in record.addresses)
        return next((path for path in found if path), "")

    def records(self) -> list[Record]:
        """The anchor's leases of this mode, oldest first.

        Requests for which nothing was done yet, and whose process is gone, are dropped first.
        """
        mine: list[Record] = []
        orphaned: list[Record] = []
        for record in self.store.queue(self.anchor):
            if record.config.mode is not self.config.mode:
                continue
            if record.state in (State.WANTED, State.FAILED) and not record.owner_alive:
                orphaned.append(record)
            else:
                mine.append(record)
        if orphaned:
            self.store.drop(orphaned)
        return mine

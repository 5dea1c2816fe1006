"""What the page of a mode offers, and the values that go in and out.

A page is a module. It reads (`look`, `look_for_strays`), compares what was read with the store's
leases (`judge`, `judge_strays`: pure), and makes both agree (`settle`, the only one that writes).
CHECK, `neutron-cni leases` and `gc`, and the page's own `settle` share the one `judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.room import Capacity
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record
from neutron_cni.values.address import IPAddress


class Kind(StrEnum):
    """What is the matter."""

    UNUSED = "unused"
    """Held, but its namespace is gone and no other on this node has the address."""
    DOUBTFUL = "doubtful"
    """Held, and its namespace lives, but nothing runs in it, or its pod has a newer sandbox: the
    runtime may have forgotten it. Only `gc` names these, and `gc --free` releases them."""
    MISSING = "missing"
    """Held, but Neutron does not have it (any more)."""
    UNKNOWN = "unknown"
    """Ours by Neutron's tags, but the store does not know it."""
    FOREIGN = "foreign"
    """Another installation's of neutron-cni: on this VM's port, or made for a node of this name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between store, Neutron and node, in words.

    `text` is for operators and names the lease; `for_check` says the same to whoever asked about
    that one lease (CHECK), empty where the finding is about no lease.
    """

    kind: Kind
    addresses: tuple[IPAddress, ...]
    text: str
    for_check: str = ""
    record_id: int = 0
    """The lease's row, 0 where there is none."""
    mendable: bool = False
    """Whether the next `settle` (of `gc --apply`, or of an ADD) puts the address back."""
    network: str = ""
    """The lease's CNI network, empty where it is not known."""

    @property
    def address(self) -> str:
        """The addresses as one text: "10.0.0.5, fd00::5"."""
        return ", ".join(map(str, self.addresses)) or "(none yet)"


@dataclass(frozen=True, slots=True)
class Seen:
    """What Neutron showed of the things that some leases stand for."""

    install: str
    """This installation, as tags name it (6 hex digits)."""
    vm_port: Port | None = None
    """The VM's port; None in a mode that has nothing to do with it."""
    reserving: Mapping[str, Port] = field(default_factory=dict)
    """The ports that reserve the leases' addresses, by port id; one that is gone is not there."""


@dataclass(frozen=True, slots=True)
class ForeignPort:
    """A reserving port that another installation made for a node which is called as this one."""

    port: Port
    install: str
    node: str


@dataclass(frozen=True, slots=True)
class Strays:
    """What Neutron showed that carries a mark of ours, or of another installation of this node."""

    install: str
    vm_port: Port | None = None
    """The VM's port where its tags are claims (mode `fixed-ips`)."""
    reserving: tuple[Port, ...] = ()
    """Ports that this installation made for this mode, by their tags."""
    foreign: tuple[ForeignPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the whole store knows, of all queues: whatever else carries our mark was lost."""

    nonces: frozenset[str]
    addresses: frozenset[IPAddress]


class ModePage(Protocol):
    """The functions of a page. All but the pure ones raise CniError when Neutron can't be asked."""

    def settle(self, context: Context) -> None:
        """Make Neutron and the store agree about the anchor, until nothing is left to do.

        Called with the anchor's lock held. It starts from what is, not from what a predecessor
        meant to do; it records each change before it makes it. So it goes on after any crash.
        """

    def recover_lost(self, context: Context) -> None:
        """Give leases to what carries our mark and has none: the store was lost.

        Under the anchor's lock, before `settle`. A mode whose `settle` does so each time has
        nothing to do here.
        """

    def look(self, context: Context, leases: Sequence[Record]) -> Seen:
        """Read from Neutron what these leases stand for; changes nothing."""

    def judge(self, leases: Sequence[Record], seen: Seen) -> list[Finding]:
        """What must be true in Neutron for these leases, which are held, and is not. Pure."""

    def look_for_strays(self, context: Context) -> Strays:
        """Read from Neutron what carries marks; changes nothing."""

    def judge_strays(self, known: Known, strays: Strays) -> list[Finding]:
        """What carries a mark and belongs to no lease of this store. Pure."""

    def remarks(self, strays: Strays) -> list[str]:
        """Sentences about what is right, and yet an operator should know. Pure."""

    def capacity(self, context: Context) -> Capacity:
        """What is left for further pods. Raises CniError for what else would make an ADD fail."""

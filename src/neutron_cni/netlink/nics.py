"""NICs of the node that can be moved into a pod: how one is meant, and what decides about it.

Plain values and pure functions; `nic_facts` reads them from the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from neutron_cni.values.address import IPInterface

PREFIX = "neutron-cni "
"""What the alias of every link of neutron-cni begins with."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How a NIC was on the node, for its way back. `mtu` is in bytes, `kind` the kernel's.

    `pci`: its PCI address, which can't be told of a NIC that is in a pod; empty if it has none.
    `addresses` are those that somebody gave it for good; what DHCP or a router gave, its client
    asks for again. `device` and `permanent`: see `Link`.
    """

    name: str
    mac: str
    mtu: int
    up: bool
    kind: str = ""
    pci: str = ""
    addresses: tuple[IPInterface, ...] = ()
    device: str = ""
    permanent: str = ""


class Place(Enum):
    """Where a NIC is, as an attachment sees it."""

    NODE = "on the node"
    OWN = "in the attachment's own pod"
    OTHER = "another attachment's"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which NIC is meant; exactly one of the fields is set.

    `mac` is in lower case, `pci` an address such as "0000:00:05.0". `functions` are names of
    physical functions: any of their virtual functions is meant.
    """

    name: str = ""
    mac: str = ""
    pci: str = ""
    functions: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.functions:
            return f"virtual function of {', '.join(self.functions)}"
        if self.name:
            return self.name
        return f"with the MAC {self.mac}" if self.mac else f"with the PCI address {self.pci}"

    def fits(self, nic: Nic) -> bool:
        """Whether the NIC is meant, by what it has on the node, or had there."""
        if self.functions:
            return nic.function_of in self.functions
        if self.mac:
            return self.mac in (nic.mac, nic.before.mac)
        return self.pci == nic.before.pci if self.pci else self.name == nic.before.name


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC, and all that decides whether it may be moved.

    `mtu` and `max_mtu` (0: not known) are in bytes. `alias`: neutron-cni's own, or empty; then
    `memory` is how it was before. `netns`: the path of the namespace it is in, where that is not
    the node's. `master`: the bridge or bond that it is a port of, `children`: the links upon it,
    `defaults`: the IP versions (4, 6) whose default route goes by it. `function_of`: the name of
    its physical function. `device` and `permanent`: see `Link`.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool = False
    kind: str = ""
    max_mtu: int = 0
    addresses: tuple[IPInterface, ...] = ()
    alias: str = ""
    memory: Memory | None = None
    place: Place = Place.NODE
    netns: str = ""
    master: str = ""
    children: tuple[str, ...] = ()
    defaults: frozenset[int] = frozenset()
    pci: str = ""
    function_of: str = ""
    device: str = ""
    permanent: str = ""

    @property
    def before(self) -> Memory:
        """How it is on the node, or was before it was moved."""
        return self.memory or Memory(
            self.name,
            self.mac,
            self.mtu,
            self.up,
            self.kind,
            self.pci,
            self.addresses,
            self.device,
            self.permanent,
        )

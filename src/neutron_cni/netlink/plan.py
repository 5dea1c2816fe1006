"""What a plugin wants of the kernel, as data: built by `plugins`, made true by `netlink.apply`.

Everything here is a frozen value, so that a plan can be compared, printed and tested without
root. This module must stay free of pyroute2 (160 ms to import) and of I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork

MAX_LINK_NAME = 15
"""Characters in a link name: IFNAMSIZ less the closing NUL."""

Scope = Literal["global", "link"]


class Side(Enum):
    """In which network namespace something is: the node's or the pod's."""

    HOST = "node"
    POD = "pod"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair with one end in each namespace.

    `alias` is written to the host end (IFLA_IFALIAS, 255 bytes at most). It says whose link it
    is, and is what `undo` goes by before it deletes anything: a name alone proves nothing.
    MACs are "02:00:00:00:00:01", `mtu` is in bytes (None: the kernel's default, 1500).
    """

    host_name: str
    pod_name: str
    host_mac: str
    pod_mac: str
    alias: str
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Dummy:
    """A dummy link of the node, shared by all its pods: made when missing, never removed."""

    name: str


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of a link. Without `prefix_route` the kernel adds no route to its subnet.

    IPv6 addresses are always added without duplicate address detection: Neutron is the one
    who decides whose they are, and DAD would hold a pod's first second back.
    """

    side: Side
    link: str
    address: IPInterface
    prefix_route: bool = False


@dataclass(frozen=True, slots=True)
class LinkRoute:
    """A route of the main table. `source` is the preferred one, `mtu` is in bytes.

    `scope` means something for IPv4 only. `onlink`: the gateway is taken to be on the link
    although no route says so.
    """

    side: Side
    link: str
    destination: IPNetwork
    gateway: IPAddress | None = None
    scope: Scope = "global"
    source: IPAddress | None = None
    onlink: bool = False
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry: nobody has to answer ARP or ND for `address`."""

    side: Side
    link: str
    address: IPAddress
    mac: str


@dataclass(frozen=True, slots=True)
class ProxyNeighbour:
    """`link` answers ARP or ND for `address` with its own MAC."""

    side: Side
    link: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A setting below /proc/sys, as "net/ipv4/conf/eth0/forwarding".

    Not `required`: a kernel that has no such setting needs none (IPv6 switched off at boot).
    `as_good`: other values that serve as well, for who compares.
    """

    side: Side
    key: str
    value: str
    required: bool = True
    as_good: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """The link that the setting is of ("all" and "default" too); empty for other settings."""
        parts = self.key.split("/")
        per_link = len(parts) == 5 and parts[0] == "net" and parts[2] in ("conf", "neigh")
        return parts[3] if per_link else ""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Gratuitous ARP or unsolicited neighbour advertisement: `address` is at `link`'s MAC."""

    side: Side
    link: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one attachment needs of the kernel. `notes` are sentences for stderr."""

    veths: tuple[Veth, ...] = ()
    dummies: tuple[Dummy, ...] = ()
    addresses: tuple[LinkAddress, ...] = ()
    routes: tuple[LinkRoute, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    proxies: tuple[ProxyNeighbour, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    notes: tuple[str, ...] = ()

    def owns(self, side: Side, link: str) -> bool:
        """Whether the plan itself makes that link, so that it comes and goes with the plan."""
        return any(
            link == (veth.host_name if side is Side.HOST else veth.pod_name) for veth in self.veths
        )

    def links(self, side: Side) -> frozenset[str]:
        """The names of all links on one side that the plan makes or needs."""
        named = {item.link for item in self.addresses if item.side is side}
        named |= {item.link for item in self.routes if item.side is side}
        named |= {item.link for item in self.neighbours if item.side is side}
        named |= {item.link for item in self.proxies if item.side is side}
        if side is Side.POD:
            return frozenset(named | {item.pod_name for item in self.veths})
        named |= {item.host_name for item in self.veths} | {item.name for item in self.dummies}
        return frozenset(named)

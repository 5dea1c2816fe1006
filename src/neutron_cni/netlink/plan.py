"""What a plugin wants of the kernel, as data: built by `plugins`, made true by `netlink.apply`.

Everything here is a frozen value, so that a plan can be compared, printed and tested without
root. This module must stay free of pyroute2 (160 ms to import) and of I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork

MAX_LINK_NAME = 15
"""Characters in a link name: IFNAMSIZ less the closing NUL."""

MAIN_TABLE = 254
"""The routing table that `ip route` shows (RT_TABLE_MAIN)."""

Scope = Literal["global", "link"]


class Side(Enum):
    """In which network namespace something is: the node's or the pod's."""

    HOST = "node"
    POD = "pod"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class VethPair:
    """A veth pair with one end in each namespace.

    `alias` is written to the host end (IFLA_IFALIAS, 254 bytes at most). It says whose link it
    is, and is what `undo` goes by before it deletes anything: a name alone proves nothing.
    `earlier_aliases` are those that earlier versions of this program wrote for the same link.
    MACs are "02:00:00:00:00:01", `mtu` is in bytes (None: the kernel's default, 1500).
    """

    host_name: str
    pod_name: str
    host_mac: str
    pod_mac: str
    alias: str
    mtu: int | None = None
    earlier_aliases: tuple[str, ...] = ()

    def name_on(self, side: Side) -> str:
        """The name of its end on one side."""
        return self.host_name if side is Side.HOST else self.pod_name


@dataclass(frozen=True, slots=True)
class Dummy:
    """A dummy link of the node, shared by all its pods: made when missing, never removed."""

    name: str

    def name_on(self, side: Side) -> str | None:
        """Its name on the node; None in the pod, where it is not."""
        return self.name if side is Side.HOST else None


WantedLink = VethPair | Dummy
"""Every kind of link that a plan can ask for; `netlink.kinds` has a page of each."""


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
    """A route. `source` is the preferred one, `mtu` is in bytes, `table` a routing table's number.

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
    table: int = MAIN_TABLE


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: which routing table is asked for which packets (ip-rule(8)).

    `version` is 4 or 6. A packet fits if it is from `source`, carries the firewall mark `mark`
    and came in by the link `incoming`, of what is set. Of two rules that fit, the one with the
    lower `priority` is asked first; the kernel's own are at 0, 32766 and 32767.
    """

    side: Side
    version: int
    priority: int
    table: int
    source: IPNetwork | None = None
    mark: int | None = None
    incoming: str = ""


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

    links: tuple[WantedLink, ...] = ()
    addresses: tuple[LinkAddress, ...] = ()
    routes: tuple[LinkRoute, ...] = ()
    rules: tuple[Rule, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    proxies: tuple[ProxyNeighbour, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    notes: tuple[str, ...] = ()

    def owns(self, side: Side, name: str) -> bool:
        """Whether the plan makes a link of that name for this attachment alone, so that it comes
        and goes with the plan."""
        mine = (link for link in self.links if not isinstance(link, Dummy))
        return any(link.name_on(side) == name for link in mine)

    def names(self, side: Side) -> frozenset[str]:
        """The names of all links on one side that the plan makes or needs."""
        needed = {item.link for item in self.addresses if item.side is side}
        needed |= {item.link for item in self.routes if item.side is side}
        needed |= {item.link for item in self.neighbours if item.side is side}
        needed |= {item.link for item in self.proxies if item.side is side}
        made = (link.name_on(side) for link in self.links)
        return frozenset(needed | {name for name in made if name is not None})

    def without_shared_links(self) -> Plan:
        """The plan less what belongs to all pods of the node: dummy links and their addresses."""
        shared = {link.name for link in self.links if isinstance(link, Dummy)}
        return replace(
            self,
            links=tuple(link for link in self.links if not isinstance(link, Dummy)),
            addresses=tuple(
                item
                for item in self.addresses
                if not (item.side is Side.HOST and item.link in shared)
            ),
        )

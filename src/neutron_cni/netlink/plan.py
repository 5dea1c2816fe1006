"""What a plugin wants of the kernel, as data: `plugins` makes it, `netlink.apply` carries it out.

Everything here is a frozen value, so that a plan can be compared, printed and tested without
root. This module must stay free of pyroute2 (160 ms to import) and of I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Literal

from neutron_cni.netlink.nics import Nic
from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork

MAX_LINK_NAME = 15
"""Bytes in a link name: IFNAMSIZ less the closing NUL."""

MAIN_TABLE = 254
"""The routing table that `ip route` shows (RT_TABLE_MAIN)."""

ANY_TABLE = 0
"""No table's number (RT_TABLE_UNSPEC): a request that names it compares no table."""

Scope = Literal["global", "link"]


class Side(Enum):
    """Which network namespace something is in: the node's or the pod's."""

    HOST = "node"
    POD = "pod"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class VethPair:
    """A veth pair with one end in each namespace.

    `alias` is written to the host end (IFLA_IFALIAS, 254 bytes at most). It names the owner of
    the link, and `undo` compares it before it deletes the link: a name alone proves nothing.
    `earlier_aliases` are those that earlier versions of neutron-cni wrote for the same link.
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
        """The name of the pair's end on `side`."""
        return self.host_name if side is Side.HOST else self.pod_name


@dataclass(frozen=True, slots=True)
class Dummy:
    """A dummy link of the node, shared by all its pods: made when missing, never removed."""

    name: str

    def name_on(self, side: Side) -> str | None:
        """The link's name on the node; None for the pod, which does not have it."""
        return self.name if side is Side.HOST else None


class IpvlanMode(StrEnum):
    """How an ipvlan link passes packets on (kernel: Documentation/networking/ipvlan.rst)."""

    L2 = "l2"
    """The parent is a switch: the child has neighbours, and sees broadcasts."""
    L3 = "l3"
    """The node's routing table leads what the child sends; the child asks for no neighbour."""
    L3S = "l3s"
    """As L3, and the node's netfilter sees what comes in and goes out."""


@dataclass(frozen=True, slots=True)
class Ipvlan:
    """An ipvlan child of the node's link `parent`, in the pod. It has its parent's MAC.

    `alias` names its owner, as a `VethPair`'s does. `mtu` is in bytes (None: the parent's).
    """

    parent: str
    pod_name: str
    alias: str
    mode: IpvlanMode = IpvlanMode.L2
    mtu: int | None = None

    def name_on(self, side: Side) -> str | None:
        """The link's name in the pod; None for the node, which has its parent only."""
        return self.pod_name if side is Side.POD else None


@dataclass(frozen=True, slots=True)
class MovedLink:
    """A NIC of the node, in the pod as long as the pod lives.

    `alias` names its owner, as a `VethPair`'s does. `nic`: what the node has, or had; None where
    that does not matter, as the NIC is to be looked at, or to come back. `mac`: the one it must
    have, or empty for any. `mtu` is in bytes (None: as it is).
    """

    pod_name: str
    alias: str
    nic: Nic | None = None
    mtu: int | None = None
    mac: str = ""

    def name_on(self, side: Side) -> str | None:
        """The link's name in the pod; None for the node, which does not have it meanwhile."""
        return self.pod_name if side is Side.POD else None


WantedLink = VethPair | Ipvlan | MovedLink | Dummy
"""Every kind of link that a plan can ask for; `netlink.kinds` has a module for each."""


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of a link. Without `prefix_route` the kernel adds no route to its subnet.

    IPv6 addresses are always added without duplicate address detection (DAD): Neutron decides
    which pod has an address, and DAD would make every new pod wait for a second.
    """

    side: Side
    link: str
    address: IPInterface
    prefix_route: bool = False


@dataclass(frozen=True, slots=True)
class LinkRoute:
    """A route by `link`. `source` is the preferred source address, `mtu` is in bytes.

    `table` is the number of a routing table. `scope` counts for IPv4 only. `onlink`: the kernel
    shall take the gateway to be on the link, although no route says so. `metric`: of several routes
    to one destination the lowest counts (0: the kernel's default, 0 for IPv4, 1024 for IPv6).
    `shared`: others want the same route, so it is never taken back, and `netlink.diff` does not ask
    for it: it looks at what comes of it (`Path`). Not `checked`: nor does it, as the pod works
    without.
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
    metric: int = 0
    shared: bool = False
    checked: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: which routing table the kernel looks in for which packets (ip-rule(8)).

    `version` is 4 or 6. A packet matches if it comes from `source`, its firewall mark has the bits
    of `mark` and it came in by the link `incoming`; what is not set matches every packet. The
    kernel tries rules from the lowest `priority` up; its own are at 0, 32766 and 32767. A `source`
    of all addresses, or a `mark` of 0, is None. `suppress_prefixlength`: what the table
    says counts only where the route's prefix is longer. In a plan for `undo` the `table` may be
    ANY_TABLE: the rule is removed whichever table it names. Not `checked`: `netlink.diff` does not
    ask for it.
    """

    side: Side
    version: int
    priority: int
    table: int
    source: IPNetwork | None = None
    mark: int | None = None
    incoming: str = ""
    suppress_prefixlength: int | None = None
    checked: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry: the kernel need not ask by ARP or ND for `address`.

    Not `permanent`: it spares the first packet the question, and then the kernel follows what the
    neighbour says of itself, such as another MAC. How such an entry fares is no matter of CHECK.
    """

    side: Side
    link: str
    address: IPAddress
    mac: str
    permanent: bool = True


@dataclass(frozen=True, slots=True)
class ProxyNeighbour:
    """`link` answers ARP or ND for `address` with its own MAC."""

    side: Side
    link: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A setting below /proc/sys; `key` is its path there, "net/ipv4/conf/eth0/forwarding".

    Not `required`: the kernel need not have the setting (IPv6 is switched off at boot).
    `as_good`: other values that `netlink.diff` accepts, because they have the same effect.
    Not `checked`: `netlink.diff` accepts any, as a pod that an earlier version made works without.
    """

    side: Side
    key: str
    value: str
    required: bool = True
    as_good: tuple[str, ...] = ()
    checked: bool = True

    @property
    def link(self) -> str:
        """The link in the key ("all" and "default" too); empty if the key names none."""
        parts = self.key.split("/")
        per_link = len(parts) == 5 and parts[0] == "net" and parts[2] in ("conf", "neigh")
        return parts[3] if per_link else ""


@dataclass(frozen=True, slots=True)
class ReturnMark:
    """In the pod: what comes in new by `link` is answered by it.

    The kernel remembers it of the connection (conntrack mark), and gives the packets of the pod
    that belong to such a connection the firewall mark `mark`, a single bit; a `Rule` sends these to
    a routing table. Bits of others' marks stay. `version` is 4 or 6.
    """

    version: int
    link: str
    mark: int

    @property
    def side(self) -> Side:
        """The pod's."""
        return Side.POD


@dataclass(frozen=True, slots=True)
class NodeSource:
    """On the node, for all its pods: what comes in by a link whose name begins with `prefix`, and
    leaves by a link whose name does not, has an address of the node's as its source then.

    So the answer comes to the node, which has the connection's translations. Only what a service
    translated, answers, and what is for link-local addresses is sent on; and nothing is let in from
    a source that the link has no route to. Such packets carry the firewall mark `mark`, a single
    bit, on their way. `version` is 4 or 6. It stays when the pod goes, as other pods use it.
    """

    version: int
    prefix: str
    mark: int

    @property
    def side(self) -> Side:
        """The node's."""
        return Side.HOST


PacketRules = ReturnMark | NodeSource
"""What a plan can want of the kernel's packet filter; `netlink.filters` makes it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A gratuitous ARP or unsolicited neighbour advertisement: `address` is at `link`'s MAC."""

    side: Side
    link: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Path:
    """What `source` sends to somewhere far, in by the node's link `incoming`, leaves by `link`.

    Nothing that `apply` makes: `netlink.diff` asks the kernel whether it is so, whatever routes and
    rules, ours or an operator's, make it so.
    """

    source: IPAddress
    incoming: str
    link: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one attachment needs of the kernel.

    `notes` are sentences for the operator. `troubles` are such as ADD can't mend, and CHECK fails
    for: with them the pod is cut off for certain.
    """

    links: tuple[WantedLink, ...] = ()
    addresses: tuple[LinkAddress, ...] = ()
    routes: tuple[LinkRoute, ...] = ()
    rules: tuple[Rule, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    proxies: tuple[ProxyNeighbour, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    filters: tuple[PacketRules, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    paths: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()

    def owns(self, side: Side, name: str) -> bool:
        """Whether the plan makes a link `name` on `side` for this attachment alone.

        `apply` makes such a link, and `undo` deletes it; a shared link stays.
        """
        mine = (link for link in self.links if not isinstance(link, Dummy))
        return any(link.name_on(side) == name for link in mine)

    def names(self, side: Side) -> frozenset[str]:
        """The names of all links on `side` that the plan makes, or puts something on or under."""
        needed = {item.link for item in self.addresses if item.side is side}
        needed |= {item.link for item in self.routes if item.side is side}
        needed |= {item.link for item in self.neighbours if item.side is side}
        needed |= {item.link for item in self.proxies if item.side is side}
        made = [link.name_on(side) for link in self.links]
        if side is Side.HOST:
            made += [link.parent for link in self.links if isinstance(link, Ipvlan)]
        return frozenset(needed | {name for name in made if name is not None})

    def without_shared_links(self) -> Plan:
        """The plan without what all pods of the node share: dummy links and their addresses."""
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

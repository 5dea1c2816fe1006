"""The facts that plans are made from, about the node and the pod: plain values, which `observe`
reads."""

from __future__ import annotations

from dataclasses import dataclass

from neutron_cni.netlink.nics import Nic
from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork


@dataclass(frozen=True, slots=True)
class Uplink:
    """The node's NIC towards the Neutron network.

    `mtu` is in bytes. `onlink` are the subnets that the node's routes reach on the link, without
    a gateway. The addresses alone do not tell: with DHCPv6 the address is a /128, and the subnet
    comes from a router advertisement. `accept_ra` is the sysctl of that name, None without IPv6.
    `defaults` are the IP versions (4, 6) whose default route goes by another link. `hosts` are the
    single addresses that another link has a route to, with the kernel's default metric. `others`
    are the links of the default routes; of an IP version without any, which somebody took away
    (Multus' `default-route`), those whose other routes tell a gateway. `node_ends` are the aliases
    of the node's ends of other veths. `answered` are the names of the links in ADD's answer; none
    before there is one.
    """

    name: str
    mac: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()
    onlink: tuple[IPNetwork, ...] = ()
    accept_ra: int | None = None
    defaults: frozenset[int] = frozenset((4, 6))
    ipv6: bool = True
    up: bool = True
    master: str = ""
    macvlans: tuple[str, ...] = ()

    def speaks(self, version: int) -> bool:
        """Whether packets of that IP version can leave by the link: it has an IPv4 address to ask
        for neighbours from; for IPv6 the kernel gives it one."""
        return self.ipv6 if version == 6 else any(x.version == 4 for x in self.addresses)


@dataclass(frozen=True, slots=True)
class ForwardDrop:
    """A chain of the node that drops forwarded packets of these IP versions, unless a rule accepts
    them: "nftables ip filter FORWARD"."""

    chain: str
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The node as it is now. `uplink` is None if the node has no default route.

    `dummy`: the kernel has the dummy link already, or can make it. `ipv6`: IPv6 was not switched
    off at boot. `force_forwarding`: the kernel can forward IPv6 for a single link (6.17 and
    later). `ipv6_forwarding`: net.ipv6.conf.all.forwarding is 1. `forward_drops`: see
    `ForwardDrop`; none if they were not looked for. `ipvlan`: the kernel can make ipvlan links.
    `addresses` are the node's own on all its links, but for loopback and link-local ones. `nics`:
    those that are meant to be moved, see `nic_facts.find`. All three are only filled in if a plan
    needs them. `nic_by_lease`: the NIC to be moved is the one that IPAM gets for the pod.
    """

    uplink: Uplink | None = None
    dummy: bool = False
    ipv6: bool = True
    force_forwarding: bool = False
    ipv6_forwarding: bool = False
    forward_drops: tuple[ForwardDrop, ...] = ()
    ipvlan: bool = False
    addresses: tuple[IPAddress, ...] = ()
    nics: tuple[Nic, ...] = ()
    nic_by_lease: bool = False


@dataclass(frozen=True, slots=True)
class OtherLink:
    """A link of the pod with a default route, or that had one: of one IP version, by `gateway` if
    it has one.

    `addresses`: those of that version, at least one.
    """

    name: str
    index: int
    gateway: IPAddress | None
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What a pod's namespace has besides the attachment's own link: its other networks.

    `defaults` are the IP versions (4, 6) whose default route goes by another link. `hosts` are the
    single addresses that another link has a route to, with the kernel's default metric. `others`
    are the links of the default routes; of an IP version without any, which somebody took away
    (Multus' `default-route`), those whose other routes tell a gateway. `node_ends` are the aliases
    of the node's ends of other veths. `answered` are the names of the links in ADD's answer; none
    before there is one.
    """

    defaults: frozenset[int] = frozenset()
    hosts: frozenset[IPAddress] = frozenset()
    others: tuple[OtherLink, ...] = ()
    node_ends: tuple[str, ...] = ()
    answered: frozenset[str] = frozenset()

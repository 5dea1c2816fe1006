"""veth-route: the pod has one veth, and the node routes for it.

In the pod: `169.254.1.1 dev eth0 scope link` and `default via 169.254.1.1`. On the node: a host
route to the pod's address over the veth. The pod shares no broadcast domain with anyone, so it
needs no address on its own subnet but its own, and everything it sends passes the node, where
kube-proxy's rules apply. Everything here is pure: facts and values in, a plan out.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

import msgspec

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import (
    MAX_LINK_NAME,
    Dummy,
    LinkAddress,
    LinkRoute,
    Neighbour,
    Plan,
    Side,
    Sysctl,
    VethPair,
)
from neutron_cni.plugins import forwarding, ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.values.address import IPAddress, IPNetwork
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, IPConfig, Result, Route

PART = "veth-route"

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""MAC of every node-side veth, as Calico has it: a pod's neighbour entry for its gateway is the
same on every node and outlives the link. Each veth is a wire of two, so it can not collide."""

GATEWAY_V6 = IPv6Address("fe80::1")
_DEFAULT_V4: IPNetwork = ip_network("0.0.0.0/0")
_DEFAULT_V6: IPNetwork = ip_network("::/0")
_MIN_IPV6_MTU = 1280


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """veth-route's own fields of the network configuration.

    `mtu`: bytes; default, also with 0: the smaller of the Neutron network's and the uplink's.
    `host_interface`: the uplink; default: the NIC of the default route.
    `host_forwarding`: also switch forwarding on for the whole node, not just for the links used.
    `gateway_address`: the pods' IPv4 gateway, on the node's link `dummy_name`.
    """

    mtu: int | None = None
    host_interface: str | None = None
    host_forwarding: bool = False
    gateway_address: str = "169.254.1.1"
    dummy_name: str = "dummy0"

    def __post_init__(self) -> None:
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise ValueError(f"mtu must be 68 to 65535 bytes, not {self.mtu}")
        try:
            gateway = IPv4Address(self.gateway_address)
        except ValueError:
            given = self.gateway_address
            raise ValueError(f"gatewayAddress must be an IPv4 address, not {given!r}") from None
        if gateway.is_multicast or gateway.is_unspecified or gateway.is_loopback:
            raise ValueError(f"gatewayAddress must be an address of a host, not {gateway}")
        if not re.fullmatch(rf"(?!\.)[\w.-]{{1,{MAX_LINK_NAME}}}", self.dummy_name, re.ASCII):
            raise ValueError(
                f"dummyName must have 1 to {MAX_LINK_NAME} letters, digits, '_', '.' or '-'"
            )

    def gateway(self, version: int) -> IPAddress:
        """The pods' gateway of an IP version: the configured one, and fe80::1."""
        return IPv4Address(self.gateway_address) if version == 4 else GATEWAY_V6


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    return Asks(config.host_interface, config.dummy_name)


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`.

    CniError CONFLICT if the node itself holds a leased address: its local table would win over
    the host route, and the pod would never see a packet. CniError INVALID_CONFIG for an MTU
    that can't carry the lease.
    """
    attachment, lease, facts, config = call.attachment, call.lease, call.facts, call.config
    veth = _veth(call.network, attachment, _mtu(call))
    versions = {item.address.version for item in lease.addresses}
    _refuse_unusable(veth, lease, facts)
    addresses, routes, neighbours = _pod_side(attachment, lease, config, versions)
    has_gateway_link = facts.dummy and 4 in versions
    node_addresses = _gateway_addresses(veth, config, versions, has_gateway_link)
    proxies = forwarding.proxies(lease, facts.uplink)
    return Plan(
        links=(veth, Dummy(config.dummy_name)) if has_gateway_link else (veth,),
        addresses=(*node_addresses, *addresses),
        routes=(*(_host_route(veth, ip) for ip in _ips(lease)), *routes),
        neighbours=(
            *(Neighbour(Side.HOST, veth.host_name, ip, veth.pod_mac) for ip in _ips(lease)),
            *neighbours,
        ),
        proxies=proxies,
        sysctls=(
            *forwarding.veth_sysctls(veth.host_name, versions, facts),
            *forwarding.uplink_sysctls(
                facts, versions, proxies, host_forwarding=config.host_forwarding
            ),
            *(forwarding.host_sysctls(versions) if config.host_forwarding else ()),
            *_pod_sysctls(attachment.ifname, versions),
        ),
        announcements=forwarding.announcements(lease, facts.uplink),
        notes=tuple(_notes(facts, config, versions)),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. Without lease or facts, `undo` finds the proxy entries by the host
    routes."""
    veth = _veth(gone.network, gone.attachment, None)
    if gone.lease is None or gone.facts is None:
        return Plan(links=(veth,))
    return Plan(
        links=(veth,),
        routes=tuple(_host_route(veth, ip) for ip in _ips(gone.lease)),
        proxies=forwarding.proxies(gone.lease, gone.facts.uplink),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: both ends of the pair, the addresses, and the routes that were made."""
    attachment, lease, config = call.attachment, call.lease, call.config
    veth = _veth(call.network, attachment, _mtu(call))
    versions = {item.address.version for item in lease.addresses}
    return Result(
        interfaces=(
            Interface(veth.host_name, veth.host_mac, veth.mtu),
            Interface(veth.pod_name, veth.pod_mac, veth.mtu, attachment.netns),
        ),
        ips=tuple(
            IPConfig(item.address, config.gateway(item.address.version), interface=1)
            for item in lease.addresses
        ),
        routes=tuple(
            Route(_default(version), config.gateway(version)) for version in sorted(versions)
        ),
        dns=lease.dns,
    )


def host_link_name(attachment: Attachment) -> str:
    """The node-side name, "veth" and 11 hex digits: found again at DEL without any record."""
    return f"veth{_digest(attachment).hex()[:11]}"


def pod_mac(attachment: Attachment) -> str:
    """The pod's MAC: locally administered, unicast, the same whenever the pair is made again."""
    digest = _digest(attachment)
    # Other bytes of the digest than the name's, so that a MAC does not give the name away
    # as its twin; bit 1 of the first byte is "locally administered", bit 0 "multicast".
    first = digest[8] & 0xFC | 0x02
    return bytes([first, *digest[9:14]]).hex(":")


def _digest(attachment: Attachment) -> bytes:
    return sha256(f"{attachment.container_id}/{attachment.ifname}".encode()).digest()


def _veth(network: str, attachment: Attachment, mtu: int | None) -> VethPair:
    return VethPair(
        host_name=host_link_name(attachment),
        pod_name=attachment.ifname,
        host_mac=GATEWAY_MAC,
        pod_mac=pod_mac(attachment),
        alias=ownership.alias(network, attachment, PART),
        mtu=mtu,
        earlier_aliases=(ownership.earlier_alias(network, attachment),),
    )


def _mtu(call: Call[Config]) -> int | None:
    """The configured one, or the smaller of the Neutron network's and the uplink's."""
    uplink = call.facts.uplink
    known = [call.lease.mtu, uplink.mtu if uplink else None]
    return call.config.mtu or min((mtu for mtu in known if mtu), default=None)


def _refuse_unusable(veth: VethPair, lease: Lease, facts: HostFacts) -> None:
    own = {item.ip for item in facts.uplink.addresses} if facts.uplink else set()
    for ip in _ips(lease):
        if ip in own:
            raise CniError(
                Code.CONFLICT,
                f"the node itself holds the pod's address {ip}",
                "take it off the NIC: DHCP or cloud-init must only configure the first address",
            )
        if ip.version == 6 and not facts.ipv6:
            raise CniError(
                Code.INVALID_CONFIG,
                f"the pod's address {ip} needs IPv6, which is switched off on the node",
                "boot without ipv6.disable=1, or lease no IPv6 address",
            )
        if ip.version == 6 and veth.mtu is not None and veth.mtu < _MIN_IPV6_MTU:
            raise CniError(
                Code.INVALID_CONFIG,
                f"an MTU of {veth.mtu} bytes can't carry the pod's IPv6 address {ip}",
                f"IPv6 needs {_MIN_IPV6_MTU} bytes (RFC 8200)",
            )


def _pod_side(
    attachment: Attachment, lease: Lease, config: Config, versions: AbstractSet[int]
) -> tuple[tuple[LinkAddress, ...], tuple[LinkRoute, ...], tuple[Neighbour, ...]]:
    """The pod's addresses, routes and neighbours.

    The address keeps its subnet's prefix length (programs read it), but no route to the subnet:
    nobody is there to answer ARP on this wire. All goes to the node, so the subnet's own host
    routes (lease.routes) add nothing and are left out. The gateway is a permanent neighbour,
    with and without a link that holds its address: one mechanism, and no ARP at all.
    """
    link = attachment.ifname
    addresses = tuple(
        LinkAddress(Side.POD, link, item.address, prefix_route=False) for item in lease.addresses
    )
    routes: list[LinkRoute] = []
    neighbours: list[Neighbour] = []
    for version in sorted(versions):
        gateway = config.gateway(version)
        routes += [
            LinkRoute(Side.POD, link, ip_network(gateway), scope="link"),
            LinkRoute(Side.POD, link, _default(version), gateway=gateway),
        ]
        neighbours.append(Neighbour(Side.POD, link, gateway, GATEWAY_MAC))
    return addresses, tuple(routes), tuple(neighbours)


def _gateway_addresses(
    veth: VethPair, config: Config, versions: AbstractSet[int], has_gateway_link: bool
) -> list[LinkAddress]:
    """Where the node holds the gateway addresses, so that pods can also ping and trace them.

    fe80::1 can be on every veth, since link-local addresses are each link's own matter.
    """
    addresses = []
    if has_gateway_link:
        gateway = ip_interface(config.gateway_address)
        addresses.append(LinkAddress(Side.HOST, config.dummy_name, gateway))
    if 6 in versions:
        addresses.append(LinkAddress(Side.HOST, veth.host_name, ip_interface(GATEWAY_V6)))
    return addresses


def _pod_sysctls(link: str, versions: AbstractSet[int]) -> list[Sysctl]:
    """Without an IPv6 address the pod's link has no IPv6 at all: no link-local noise, and
    resolvers that ask for AAAA records only where IPv6 is configured don't. With one, it is
    switched on (container runtimes often switch it off by default) and neither waits for
    duplicate address detection nor listens to router advertisements: the lease says it all.
    """
    prefix = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [Sysctl(Side.POD, f"{prefix}/disable_ipv6", "1", required=False)]
    values = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    return [Sysctl(Side.POD, f"{prefix}/{key}", value) for key, value in values.items()]


def _notes(facts: HostFacts, config: Config, versions: AbstractSet[int]) -> list[str]:
    notes = forwarding.notes(facts, versions, host_forwarding=config.host_forwarding)
    if 4 in versions and not facts.dummy:
        notes.append(
            f"this kernel has no dummy device: {config.gateway_address} is answered by a "
            "permanent neighbour only"
        )
    return notes


def _host_route(veth: VethPair, address: IPAddress) -> LinkRoute:
    # Global scope: `ip route` shows just "10.10.10.19 dev veth...".
    return LinkRoute(Side.HOST, veth.host_name, ip_network(address), scope="global")


def _default(version: int) -> IPNetwork:
    return _DEFAULT_V4 if version == 4 else _DEFAULT_V6


def _ips(lease: Lease) -> list[IPAddress]:
    return [item.address.ip for item in lease.addresses]

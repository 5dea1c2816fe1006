"""veth-route: the pod has one veth, and the node routes for it.

In the pod: `169.254.1.1 dev eth0 scope link` and `default via 169.254.1.1`. On the node: a host
route to the pod's address by the veth. The pod shares no broadcast domain with other hosts. So
it needs no address of its subnet but its own, and all that it sends passes the node, where
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
from neutron_cni.plugins import forwarding, ownership, source_routes
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.values.address import IPAddress, IPNetwork
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, IPConfig, Result, Route

PART = "veth-route"

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""MAC of the node's end of every veth, the same as Calico's. So a pod's neighbour entry for its
gateway is the same on every node and outlives the link. The MACs can't collide, as each veth is a
wire between two ends only."""

GATEWAY_V6 = IPv6Address("fe80::1")
_DEFAULT_V4: IPNetwork = ip_network("0.0.0.0/0")
_DEFAULT_V6: IPNetwork = ip_network("::/0")
_MIN_IPV6_MTU = 1280


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """veth-route's own keys of the network configuration.

    `mtu`: bytes; default, also with 0: the smaller of the Neutron network's and the uplink's.
    `host_interface`: the uplink; default: the one in `ipam`, else the NIC of the default route.
    `host_forwarding`: also switch forwarding on for the whole node, not just for the links used.
    `gateway_address`: the pods' IPv4 gateway, an address of the node's link `dummy_name`.
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
        """The pods' gateway: `gateway_address` for IP version 4, fe80::1 for 6."""
        return IPv4Address(self.gateway_address) if version == 4 else GATEWAY_V6


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    return Asks(config.host_interface, config.dummy_name)


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`.

    Raises CniError CONFLICT if the node itself has a leased address: the kernel looks in the
    local table first, so the host route would have no effect and the pod would get no packet.
    Raises CniError INVALID_CONFIG if the MTU or the node can't carry a leased IPv6 address.
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
        routes=(
            *(_host_route(veth, ip) for ip in _ips(lease)),
            *source_routes.routes(lease, facts.uplink),
            *routes,
        ),
        rules=tuple(source_routes.rules(lease, facts.uplink)),
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
        notes=(*_notes(facts, config, versions), *source_routes.notes(lease, facts.uplink)),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. Without the lease the plan names the veth only; `undo` then finds the
    proxy entries and the rules by the veth's host routes."""
    veth = _veth(gone.network, gone.attachment, None)
    if gone.lease is None:
        return Plan(links=(veth,))
    return Plan(
        links=(veth,),
        routes=tuple(_host_route(veth, ip) for ip in _ips(gone.lease)),
        rules=tuple(source_routes.leftovers(gone.lease)),
        proxies=forwarding.proxies(gone.lease, gone.facts.uplink if gone.facts else None),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: both ends of the veth, the addresses, and the default routes."""
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
    """The name of the node's end, "veth" and 11 hex digits: DEL finds it without any record."""
    return f"veth{_digest(attachment).hex()[:11]}"


def pod_mac(attachment: Attachment) -> str:
    """The pod's MAC: locally administered, unicast, the same whenever the veth is made again."""
    digest = _digest(attachment)
    # Not the bytes of the digest that are in the name, so that the MAC does not give the name
    # away. Bit 1 of the first byte is "locally administered", bit 0 "multicast".
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
    """The configured MTU, else the smaller of the Neutron network's and the uplink's, in bytes."""
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

    The address keeps its subnet's prefix length, as programs read it, but gets no route to the
    subnet, as no host of the subnet answers ARP on this wire. All traffic goes to the node, so
    the subnet's own host routes (lease.routes) would add nothing and are left out. The gateway
    is a permanent neighbour, whether a link of the node has its address or not: there is one
    mechanism, and no ARP at all.
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
    """The gateway addresses as addresses of the node, so that pods can also ping and trace them.

    fe80::1 can be on every veth, since a link-local address counts on its own link only.
    """
    addresses = []
    if has_gateway_link:
        gateway = ip_interface(config.gateway_address)
        addresses.append(LinkAddress(Side.HOST, config.dummy_name, gateway))
    if 6 in versions:
        addresses.append(LinkAddress(Side.HOST, veth.host_name, ip_interface(GATEWAY_V6)))
    return addresses


def _pod_sysctls(link: str, versions: AbstractSet[int]) -> list[Sysctl]:
    """Sysctls of the pod's link `link`; `versions` are the pod's IP versions.

    Without an IPv6 address the link has no IPv6 at all: it sends nothing from a link-local
    address, and resolvers that ask for AAAA records only where IPv6 is configured do not ask.
    With one, IPv6 is switched on (container runtimes often switch it off by default), and the
    link neither waits for duplicate address detection nor listens to router advertisements: all
    that they would tell is in the lease.
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
    # Global scope, so that `ip route` shows just "10.10.10.19 dev veth...".
    return LinkRoute(Side.HOST, veth.host_name, ip_network(address), scope="global")


def _default(version: int) -> IPNetwork:
    return _DEFAULT_V4 if version == 4 else _DEFAULT_V6


def _ips(lease: Lease) -> list[IPAddress]:
    return [item.address.ip for item in lease.addresses]

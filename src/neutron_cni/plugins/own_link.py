"""A pod's interface that is on the Neutron network itself: an ipvlan child, or a NIC. Pure.

In the pod: the subnet's prefix on the link, the lease's routes by the subnet's gateway, and for a
further network of the pod a rule for each address, as no other NIC's port lets it pass. Where the
interface takes the default route over from another one (Multus' `default-route`), that one's
addresses get such rules.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from ipaddress import ip_network
from typing import Any

from neutron_cni.netlink.plan import ANY_TABLE, LinkAddress, LinkRoute, Plan, Rule, Side, Sysctl
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.plugins.source_routes import NIC_NEXT
from neutron_cni.plugins.veth_pair import metric_of
from neutron_cni.plugins.ways import brings_default_route, others_by_source
from neutron_cni.values.address import (
    IPAddress,
    IPInterface,
    IPNetwork,
    anywhere,
    on_every_link,
)
from neutron_cni.values.result import Interface, IPConfig, Result, Route


def in_pod(call: Call[Any], default_route: bool | None) -> Plan:
    """Addresses, routes, rules and settings of the pod's interface.

    `default_route`: what the configuration says; None if it depends on whether the pod has one.
    Raises CniError CONFLICT if one is asked for and the pod has another one.
    """
    name, addresses = call.attachment.ifname, call.lease.addresses
    versions: set[int] = {item.address.version for item in addresses}
    found = _routes(call, default_route)
    firsts = {item.destination.version for item in found if not item.destination.prefixlen}
    by_source = _by_source(call, versions - firsts)
    others = others_by_source(call.inside, firsts)
    return Plan(
        addresses=tuple(
            LinkAddress(Side.POD, name, item.address, prefix_route=True) for item in addresses
        ),
        routes=(*found, *by_source.routes, *others.routes),
        rules=(*by_source.rules, *others.rules),
        sysctls=tuple(_sysctls(name, versions)),
    )


def rules_left(gone: Leftover) -> tuple[Rule, ...]:
    """The rules for `undo`, which go whatever table they name."""
    addresses = [item.address for item in gone.lease.addresses] if gone.lease else []
    return tuple(_source_rule(item, ANY_TABLE) for item in addresses)


def answer(call: Call[Any], default_route: bool | None, mac: str, mtu: int) -> Result:
    """`call.before`, the link, its addresses with the subnet's prefix, and the pod's routes."""
    attachment, lease, own = call.attachment, call.lease, len(call.before.interfaces)
    kept = {route.destination for route in _routes(call, default_route)}
    return Result(
        interfaces=(
            *call.before.interfaces,
            Interface(attachment.ifname, mac, mtu, attachment.netns),
        ),
        ips=(
            *call.before.ips,
            *(IPConfig(item.address, item.gateway, interface=own) for item in lease.addresses),
        ),
        routes=(
            *call.before.routes,
            *(Route(x.destination, x.gateway) for x in lease.routes if x.destination in kept),
        ),
        dns=lease.dns,
    )


def _routes(call: Call[Any], default_route: bool | None) -> list[LinkRoute]:
    """The lease's routes. Of the default routes those that the pod does not have already; of two
    routes to one destination, as two subnets of a network may say, the first."""
    found: dict[IPNetwork, LinkRoute] = {}
    for route in call.lease.routes:
        version = route.destination.version
        if not route.destination.prefixlen and not brings_default_route(
            version, default_route, call.inside
        ):
            continue
        gateway = route.gateway or _gateway(call, version)
        subnets = [item.address.network for item in call.lease.addresses]
        made = LinkRoute(
            Side.POD,
            call.attachment.ifname,
            route.destination,
            gateway=gateway,
            scope="global" if gateway else "link",
            onlink=gateway is not None
            and not on_every_link(gateway)
            and not any(gateway in subnet for subnet in subnets),
            mtu=route.mtu,
        )
        found.setdefault(route.destination, made)
    return list(found.values())


def _gateway(call: Call[Any], version: int) -> IPAddress | None:
    first = (item.gateway for item in call.lease.addresses if item.address.version == version)
    return next((gateway for gateway in first if gateway is not None), None)


def _by_source(call: Call[Any], versions: AbstractSet[int]) -> Plan:
    """Of the IP versions whose default route another interface has: what the addresses send leaves
    by this link, as no other NIC's port lets it pass."""
    table, name = metric_of(call.attachment), call.attachment.ifname
    routes: list[LinkRoute] = []
    rules: list[Rule] = []
    for item in call.lease.addresses:
        version, subnet = item.address.version, item.address.network
        if item.gateway is not None and version in versions:
            rules.append(_source_rule(item.address, table))
            routes.append(LinkRoute(Side.POD, name, subnet, scope="link", table=table))
            everything = LinkRoute(
                Side.POD, name, anywhere(version), gateway=item.gateway, table=table
            )
            if all(route.destination != everything.destination for route in routes):
                routes.append(everything)
    return Plan(routes=tuple(dict.fromkeys(routes)), rules=tuple(rules))


def _source_rule(address: IPInterface, table: int) -> Rule:
    return Rule(Side.POD, address.version, NIC_NEXT, table, source=ip_network(address.ip))


def _sysctls(link: str, versions: set[int]) -> list[Sysctl]:
    """The link answers ARP for its own addresses only, not for those of the pod's second interface.
    Without an IPv6 address it has no IPv6; with one it neither waits for duplicate address
    detection nor listens to router advertisements, as the lease tells all of it."""
    settings = [Sysctl(Side.POD, f"net/ipv4/conf/{link}/arp_ignore", "1")]
    v6 = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.POD, f"{v6}/disable_ipv6", "1", required=False)]
    settings.append(Sysctl(Side.POD, f"{v6}/keep_addr_on_down", "1", checked=False))
    values = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    return settings + [Sysctl(Side.POD, f"{v6}/{key}", value) for key, value in values.items()]

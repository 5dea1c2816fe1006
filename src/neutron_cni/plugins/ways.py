"""What a pod reaches by a veth to its node: all of an IP version, or some networks. Pure.

An attachment that finds no default route in the pod brings one. A further attachment (`net1` of
Multus) leaves the pod's default route alone, and brings routes to its own networks. Its routes have
a metric of their own, as the pods' gateway is the same on every veth, and the kernel takes only one
route of a metric to each destination.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_network

from neutron_cni.netlink.combine import combined
from neutron_cni.netlink.facts import OtherLink, PodFacts
from neutron_cni.netlink.plan import LinkRoute, Plan, Rule, Side
from neutron_cni.plugins.source_routes import NIC_NEXT
from neutron_cni.values.address import IPAddress, IPNetwork, anywhere
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease

_FIRST_OTHER_TABLE = 100_000
"""In the pod, with the index of a link added: the table of what another link's addresses send.
Higher than all metrics, which are the numbers of our own links' tables."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the configuration says. `gateways`: of each IP version that the lease has.

    `default_route`: None if it depends on whether the pod has one. `networks` go by this link even
    if it is not the default route's.
    """

    gateways: dict[int, IPAddress]
    default_route: bool | None
    networks: tuple[IPNetwork, ...]
    metric: int


@dataclass(frozen=True, slots=True)
class Way:
    """What of one IP version goes by the link: `destinations`, all via `gateway`.

    `metric`: of all routes, that to the gateway too; 0 is the kernel's default.
    """

    version: int
    gateway: IPAddress
    destinations: tuple[IPNetwork, ...]
    metric: int


def ways(wish: Wish, lease: Lease, inside: PodFacts) -> list[Way]:
    """The ways of all IP versions of the lease. `inside`: what else the pod has.

    Raises CniError CONFLICT if a default route is asked for and the pod has another one.
    """
    return [
        _way(version, gateway, wish, lease, inside)
        for version, gateway in sorted(wish.gateways.items())
    ]


def brings_default_route(version: int, wish: bool | None, inside: PodFacts) -> bool:
    """Whether an interface brings the pod's default route of an IP version.

    `wish`: what the configuration says, None if it depends on whether the pod has one. Raises
    CniError CONFLICT if one is asked for and the pod has another one.
    """
    taken = version in inside.defaults
    if wish and taken:
        raise CniError(
            Code.CONFLICT,
            f"the pod already has a default route for IPv{version}, by another interface",
            "leave defaultRoute out, or take the other network's default route away",
        )
    return not taken if wish is None else wish


def _way(version: int, gateway: IPAddress, wish: Wish, lease: Lease, inside: PodFacts) -> Way:
    is_default = brings_default_route(version, wish.default_route, inside)
    further = version in inside.defaults or gateway in inside.hosts
    return Way(
        version,
        gateway,
        (anywhere(version),) if is_default else _networks(version, wish, lease),
        wish.metric if further else 0,
    )


def _networks(version: int, wish: Wish, lease: Lease) -> tuple[IPNetwork, ...]:
    """The lease's subnets, their host routes, and the configured networks, each once.

    A lease from prevResult has single hosts for addresses, and the subnets among its routes.
    """
    subnets = [item.address.network for item in lease.addresses]
    found = [subnet for subnet in subnets if subnet.num_addresses > 1]
    found += [route.destination for route in lease.routes]
    found += wish.networks
    return tuple(dict.fromkeys(x for x in found if x.version == version and x.prefixlen))


def by_source_in_pod(link: str, found: list[Way], lease: Lease, inside: PodFacts) -> Plan:
    """Rules in the pod of a further network: what an address sends leaves by the link that has it.

    Else what one network's address answers could leave by the other link, to which the node does
    not let it in (rp_filter). The kernel would choose so whenever the other link has a route to who
    asked. The links that had the default routes get rules, too; these stay for as long as the pod.
    """
    further = [way for way in found if way.metric]
    own = _by_source(
        (
            _own_table(link, way),
            [x.address.ip for x in lease.addresses if x.address.version == way.version],
        )
        for way in further
    )
    return combined(own, others_by_source(inside, {4, 6})) if further else own


def others_by_source(inside: PodFacts, versions: AbstractSet[int]) -> Plan:
    """Rules and tables in the pod by which the addresses of its other links go on to send by them,
    whichever link has the default routes of these IP versions."""
    found = [item for item in inside.others if item.addresses[0].version in versions]
    return _by_source((_table_of(item), item.addresses) for item in found)


def _by_source(tables: Iterable[tuple[list[LinkRoute], Iterable[IPAddress]]]) -> Plan:
    """For each table: its routes, and the addresses whose packets look there."""
    known = [(routes, list(addresses)) for routes, addresses in tables]
    return Plan(
        routes=tuple(route for routes, _ in known for route in routes),
        rules=tuple(
            Rule(
                Side.POD,
                address.version,
                NIC_NEXT,
                routes[0].table,
                source=ip_network(address),
                checked=False,
            )
            for routes, addresses in known
            for address in addresses
        ),
    )


def _own_table(link: str, way: Way) -> list[LinkRoute]:
    gateway = way.gateway
    return [
        LinkRoute(Side.POD, link, ip_network(gateway), scope="link", table=way.metric, shared=True),
        LinkRoute(
            Side.POD, link, anywhere(way.version), gateway=gateway, table=way.metric, shared=True
        ),
    ]


def _table_of(other: OtherLink) -> list[LinkRoute]:
    version = other.addresses[0].version
    return [
        LinkRoute(
            Side.POD,
            other.name,
            anywhere(version),
            gateway=other.gateway,
            scope="link" if other.gateway is None else "global",
            # IPv6 gateways are link-local, or in a subnet of the link.
            onlink=version == 4 and other.gateway is not None,
            table=_FIRST_OTHER_TABLE + other.index,
            shared=True,
        )
    ]

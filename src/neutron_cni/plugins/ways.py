"""What a pod reaches by a veth to its node: all of an IP version, or some networks. Pure.

An attachment that finds no default route in the pod brings one. A further attachment (`net1` of
Multus) leaves the pod's default route alone, and brings routes to its own networks. Its routes have
a metric of their own, as the pods' gateway is the same on every veth, and the kernel takes only one
route of a metric to each destination.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from neutron_cni.netlink.facts import PodFacts
from neutron_cni.values.address import IPAddress, IPNetwork
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease


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


def anywhere(version: int) -> IPNetwork:
    """The destination of the default route of an IP version."""
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")


def ways(wish: Wish, lease: Lease, inside: PodFacts) -> list[Way]:
    """The ways of all IP versions of the lease. `inside`: what else the pod has.

    Raises CniError CONFLICT if a default route is asked for and the pod has another one.
    """
    return [
        _way(version, gateway, wish, lease, inside)
        for version, gateway in sorted(wish.gateways.items())
    ]


def _way(version: int, gateway: IPAddress, wish: Wish, lease: Lease, inside: PodFacts) -> Way:
    taken = version in inside.defaults
    if wish.default_route and taken:
        raise CniError(
            Code.CONFLICT,
            f"the pod already has a default route for IPv{version}, by another interface",
            "leave defaultRoute out, or take the other network's default route away",
        )
    further = taken or gateway in inside.hosts
    is_default = not taken if wish.default_route is None else wish.default_route
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

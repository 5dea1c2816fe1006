"""What the configuration says of routes, as if the pods' subnets said it themselves. Pure.

A subnet with the configured gateway and routes is a value like any other: whoever chooses addresses
keeps off its routers, and whoever makes a lease of it finds its routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from neutron_cni.ipam.choose import named
from neutron_cni.openstack.types import Subnet
from neutron_cni.values.address import IPAddress, IPNetwork, on_every_link
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import ExtraRoute, IpamConfig


def with_configured(subnet: Subnet, config: IpamConfig) -> Subnet:
    """The subnet with `gateway` and `routes` of the configuration, as far as they are for it.

    Of two routes to one destination the configured one counts, since somebody chose it for pods.
    """
    router = config.router
    gateway = router if router is not None and router in subnet.cidr else subnet.gateway
    extra = dict(_of_subnet(replace(subnet, gateway=gateway), config.routes))
    kept = tuple(item for item in subnet.host_routes if item[0] not in extra)
    # The subnet's own gateway stays a router, whose address no pod may have.
    own = () if subnet.gateway is None or subnet.gateway == gateway else (subnet.gateway,)
    return replace(subnet, gateway=gateway, host_routes=(*extra.items(), *kept), routers=own)


def require_routers(config: IpamConfig, subnets: Iterable[Subnet]) -> None:
    """Raise CniError INVALID_CONFIG unless each configured router is in one of `subnets`, and each
    route without one finds a gateway there."""
    found = [with_configured(item, config) for item in subnets]
    there = ", ".join(map(named, found))
    if config.router is not None and not any(config.router in item.cidr for item in found):
        raise _unreachable(f"gateway {config.gateway} is in none of the pods' subnets", there)
    for route in config.routes:
        if any(to == route.destination for item in found for to, _ in _of_subnet(item, [route])):
            continue
        if route.gw is not None:
            raise _unreachable(
                f"the route to {route.dst}: gw {route.gw} is in none of the pods' subnets", there
            )
        raise _unreachable(
            f"the route to {route.dst} has no gw, and no IPv{route.destination.version} subnet of "
            "the pods has a gateway",
            there,
        )


def gateway_of(subnet: Subnet) -> IPAddress | None:
    """Where the subnet's default route leads: to its gateway, or without one by a host route.

    So does Neutron's DHCP agent: of a subnet with a gateway it passes a host route to everywhere
    over. (OVN's own DHCP tells both, and leaves the choice to the client.)
    """
    if subnet.gateway is not None:
        return subnet.gateway
    return next((via for to, via in subnet.host_routes if is_default(to)), None)


def is_default(destination: IPNetwork) -> bool:
    """Whether a route is to everywhere."""
    return destination.prefixlen == 0


def _of_subnet(
    subnet: Subnet, routes: Iterable[ExtraRoute]
) -> Iterator[tuple[IPNetwork, IPAddress]]:
    """The routes that a pod of the subnet can follow."""
    for route in routes:
        via = gateway_of(subnet) if route.next_hop is None else route.next_hop
        if via is None or route.destination.version != subnet.version:
            continue
        if route.next_hop is None or via in subnet.cidr or on_every_link(via):
            yield route.destination, via


def _unreachable(what: str, there: str) -> CniError:
    return CniError(
        Code.INVALID_CONFIG,
        f"{what}: {there}",
        "correct `gateway` or `routes` in the ipam section, or name other `subnets`",
    )

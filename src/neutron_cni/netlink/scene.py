"""All that a namespace has of links, addresses, routes, rules and permanent neighbours, at once.

For who wants to tell what a program changed: look before and after. Changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from neutron_cni.netlink import addresses, links, neighbours, routes, rules
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import ANY_TABLE, Rule, Side
from neutron_cni.netlink.routes import Route
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import IPAddress, IPInterface

_VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True)
class Scene:
    """One namespace at one moment. Links are named by index in all but `links`.

    `routes`: of all tables but the local one. `neighbours`: the permanent ones, with their MACs.
    `proxies`: the addresses that a link answers for, made by us.
    """

    links: dict[int, Link]
    addresses: tuple[tuple[int, IPInterface], ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    neighbours: tuple[tuple[int, IPAddress, str], ...] = ()
    proxies: tuple[tuple[int, IPAddress], ...] = ()


def of_node() -> Scene:
    """What the caller's own namespace has. Raises CniError KERNEL."""
    with Rtnl.here() as rtnl:
        return _look(rtnl, Side.HOST)


def of_pod(namespace: Namespace) -> Scene:
    """What another namespace has. Raises CniError KERNEL."""
    with Rtnl.inside(namespace) as rtnl:
        return _look(rtnl, Side.POD)


def _look(rtnl: Rtnl, side: Side) -> Scene:
    return Scene(
        links={link.index: link for link in links.list_all(rtnl)},
        addresses=tuple(addresses.list_all(rtnl)),
        routes=tuple(
            route
            for version in _VERSIONS
            for route in routes.list_all(rtnl, version=version, table=ANY_TABLE)
        ),
        rules=tuple(rule for version in _VERSIONS for rule in rules.list_all(rtnl, side, version)),
        neighbours=tuple(neighbours.list_permanent(rtnl)),
        proxies=tuple(neighbours.own_proxies(rtnl)),
    )

"""The requests that make one side of a plan once its links are there, and those that undo them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from neutron_cni.netlink import addresses, links, neighbours, routes, rules
from neutron_cni.netlink.kinds import kind_of
from neutron_cni.netlink.plan import Dummy, LinkRoute, Plan, Side
from neutron_cni.netlink.rtnl import Request

_LOOPBACK_INDEX = 1
"""The index of lo: the kernel makes lo first in every network namespace (net/core/dev.c)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A request, what makes the request that takes it back, and the route that it adds, if any."""

    request: Request
    inverse: Callable[[], Request] | None = None
    route: LinkRoute | None = None


def steps_of(plan: Plan, side: Side, index_of: Callable[[str], int]) -> Iterator[Step]:
    """Bring links up, add addresses, neighbours, routes and rules, in this order.

    `index_of`: the index of a link of that side by its name.
    """
    yield from _ups(plan, side, index_of)
    shared_links = {link.name for link in plan.links if isinstance(link, Dummy)}
    for address in (item for item in plan.addresses if item.side is side):
        index = index_of(address.link)
        shared = address.link in shared_links
        inverse = None if shared else partial(addresses.delete, address, index)
        yield Step(addresses.add(address, index), inverse)
    for neighbour in (item for item in plan.neighbours if item.side is side):
        yield Step(neighbours.add(neighbour, index_of(neighbour.link)))
    for route in (item for item in plan.routes if item.side is side):
        index = index_of(route.link)
        take_out = None if route.shared else partial(routes.delete, route, index)
        yield Step(routes.add(route, index), take_out, route)
    for rule in (item for item in plan.rules if item.side is side):
        # One of an earlier ADD may lead to a table of then, and of two the older one counts.
        yield Step(rules.delete_any(rule))
        yield Step(rules.add(rule), partial(rules.delete, rule))


def _ups(plan: Plan, side: Side, index_of: Callable[[str], int]) -> Iterator[Step]:
    if side is Side.POD:
        yield Step(links.set_up(_LOOPBACK_INDEX, "lo of the pod"))
    for link in plan.links:
        name = link.name_on(side)
        if name is not None:
            yield Step(kind_of(link).bring_up(link, side, index_of(name)))

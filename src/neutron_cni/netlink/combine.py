"""Adds up the plans of a plugin's parts to one plan.

What two parts want alike, such as a sysctl of the uplink, is in the sum once. What two parts want
differently, such as two values of one sysctl, is refused: else the part that comes second would
win, although no rule says that it should.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import reduce
from typing import TypeVar

from neutron_cni.netlink.plan import (
    LinkAddress,
    LinkRoute,
    Neighbour,
    Plan,
    Rule,
    Side,
    Sysctl,
    WantedLink,
)
from neutron_cni.values.errors import CniError, Code

T = TypeVar("T", bound=Hashable)


def combined(*plans: Plan) -> Plan:
    """One plan with everything of `plans`, in their order; the empty plan if there are none.

    Raises CniError CONFLICT if two plans want the same link, address, route, rule, neighbour or
    sysctl differently.
    """
    return reduce(_both, plans, Plan())


def _both(first: Plan, second: Plan) -> Plan:
    return Plan(
        links=_once(first.links + second.links, _ends),
        addresses=_once(first.addresses + second.addresses, _held_address),
        routes=_once(first.routes + second.routes, _destination),
        rules=_once(first.rules + second.rules, _place),
        neighbours=_once(first.neighbours + second.neighbours, _neighbour),
        proxies=_once(first.proxies + second.proxies, lambda item: [item]),
        sysctls=_once(first.sysctls + second.sysctls, _setting),
        filters=_once(first.filters + second.filters, lambda item: [item]),
        announcements=_once(first.announcements + second.announcements, lambda item: [item]),
        paths=_once(first.paths + second.paths, lambda item: [item]),
        notes=_once(first.notes + second.notes, lambda item: [item]),
        troubles=_once(first.troubles + second.troubles, lambda item: [item]),
    )


def _once(items: Iterable[T], claims: Callable[[T], Iterable[Hashable]]) -> tuple[T, ...]:
    """`items` without repetitions. `claims` names what an item wants for itself alone.

    Raises CniError CONFLICT if two different items claim the same.
    """
    kept: dict[T, None] = {}
    claimed: dict[Hashable, T] = {}
    for item in items:
        if item in kept:
            continue
        for claim in claims(item):
            other = claimed.setdefault(claim, item)
            if other is not item:
                raise CniError(
                    Code.CONFLICT,
                    f"two parts of the plugin want different things of one: {other} and {item}",
                    "change the configuration of one of them",
                )
        kept[item] = None
    return tuple(kept)


def _ends(link: WantedLink) -> Iterable[Hashable]:
    """A link claims its name on each side that has it."""
    return [(side, name) for side in Side if (name := link.name_on(side)) is not None]


def _held_address(item: LinkAddress) -> Iterable[Hashable]:
    """An address may be on one link of a namespace only; a link-local one may be on every link."""
    link = item.link if item.address.is_link_local else ""
    return [(item.side, link, item.address.ip)]


def _destination(item: LinkRoute) -> Iterable[Hashable]:
    return [(item.side, item.table, item.destination, item.metric)]


def _place(item: Rule) -> Iterable[Hashable]:
    return [(item.side, item.version, item.priority, item.source, item.mark, item.incoming)]


def _neighbour(item: Neighbour) -> Iterable[Hashable]:
    return [(item.side, item.link, item.address)]


def _setting(item: Sysctl) -> Iterable[Hashable]:
    return [(item.side, item.key)]

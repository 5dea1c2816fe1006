"""A plan as CHECK must find it: with what later plugins of the chain changed, as prevResult tells.

Source: CNI SPEC, section 2 ("CHECK"): a plugin must allow for what plugins after it changed.
"""

from __future__ import annotations

from dataclasses import replace

from neutron_cni.netlink.facts import PodFacts
from neutron_cni.netlink.plan import Dummy, Ipvlan, MovedLink, Plan, Side, VethPair, WantedLink
from neutron_cni.values.result import Interface, Result


def as_previous(plan: Plan, previous: Result | None) -> Plan:
    """The plan with the MTU and the MAC of the pod's links in `previous`, the result of ADD.

    Results of CNI versions before 1.1.0 have no MTU: then any is right. A link that got another
    MAC has lost its permanent neighbours, as the kernel drops them then.
    """
    interfaces = previous.interfaces if previous else ()
    stated = {item.name: item for item in interfaces if item.sandbox}
    links = tuple(_as_stated(link, stated.get(link.name_on(Side.POD) or "")) for link in plan.links)
    changed = {
        link.name_on(Side.POD)
        for link, planned in zip(links, plan.links, strict=True)
        if _mac(link) != _mac(planned)
    }
    return replace(
        plan,
        links=links,
        neighbours=tuple(
            item for item in plan.neighbours if item.side is Side.HOST or item.link not in changed
        ),
    )


def as_answered(previous: Result | None) -> PodFacts:
    """The facts about the pod that made ADD answer `previous`: whether it had default routes,
    and which links it has got.

    What it has now does not tell: Multus moves default routes, and programs of the pod make some.
    """
    routes = previous.routes if previous else ()
    brought = {item.destination.version for item in routes if not item.destination.prefixlen}
    links = frozenset(item.name for item in previous.interfaces if item.sandbox) if previous else ()
    return PodFacts(defaults=frozenset({4, 6} - brought), answered=frozenset(links))


def _as_stated(link: WantedLink, stated: Interface | None) -> WantedLink:
    if isinstance(link, Dummy):
        return link
    if isinstance(link, Ipvlan):
        return replace(link, mtu=stated.mtu if stated else None)
    if isinstance(link, MovedLink):
        own = stated.mac.lower() if stated else ""
        return replace(link, mtu=stated.mtu if stated else None, mac=own)
    mac = stated.mac.lower() if stated and stated.mac else link.pod_mac
    return replace(link, mtu=stated.mtu if stated else None, pod_mac=mac)


def _mac(link: WantedLink) -> str:
    return link.pod_mac if isinstance(link, VethPair) else ""

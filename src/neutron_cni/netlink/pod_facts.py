"""Reads what a pod's namespace has besides an attachment's own link. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from neutron_cni.netlink import addresses, links, routes
from neutron_cni.netlink.facts import OtherLink, PodFacts
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import anywhere

__all__ = ["pod_facts"]


def pod_facts(netns: str, ifname: str) -> PodFacts:
    """The facts about the namespace at the path `netns`, besides its link `ifname`.

    Raises CniError INVALID_ENVIRONMENT if `netns` is no network namespace.
    """
    with Namespace.open_pod(netns) as namespace, Rtnl.inside(namespace) as rtnl:
        own = links.get(rtnl, ifname)
        others = [
            route
            for version in (4, 6)
            for route in routes.list_all(rtnl, version=version)
            if own is None or route.index != own.index
        ]
        defaults = [route for route in others if not route.destination.prefixlen]
        return PodFacts(
            defaults=frozenset(route.destination.version for route in defaults),
            hosts=frozenset(
                route.destination.network_address
                for route in others
                if route.destination.num_addresses == 1
                and route.metric == routes.standard_metric(route)
            ),
            others=tuple(_other_links(rtnl, [*defaults, *_former_defaults(others)])),
            # Without a route by another link there is no other attachment: as in most pods.
            node_ends=_node_ends(rtnl, own) if others else (),
        )


def _node_ends(pod: Rtnl, own: Link | None) -> tuple[str, ...]:
    """The aliases of the node's ends of the pod's veths but `own`."""
    found = []
    with Rtnl.here() as host:
        for link in links.list_all(pod):
            if link.kind == "veth" and link.peer is not None and link != own:
                end = links.by_index(host, link.peer)
                if end is not None and end.peer == link.index and end.alias:
                    found.append(end.alias)
    return tuple(found)


def _former_defaults(found: list[routes.Route]) -> Iterator[routes.Route]:
    """Default routes as there may have been, of the IP versions of which there is none.

    Multus takes the first network's away before it calls a plugin for the one that `default-route`
    is for. The gateway is left, as that of other routes or as a neighbour with a route of its own.
    """
    having = {route.destination.version for route in found if not route.destination.prefixlen}
    for route in found:
        version = route.destination.version
        usual = route.metric == routes.standard_metric(route) and not route.by_kernel
        if version in having or not usual:
            continue
        alone = route.destination.num_addresses == 1 and not route.local
        gateway = route.gateway or (route.destination.network_address if alone else None)
        if gateway is not None:
            yield replace(route, destination=anywhere(version), gateway=gateway)


def _other_links(rtnl: Rtnl, defaults: list[routes.Route]) -> Iterator[OtherLink]:
    """The links of these default routes that have addresses of the routes' IP versions.

    Of several routes of a version by one link, such as of two routers that advertise themselves,
    the best counts; one with several next hops is of no link.
    """
    best: dict[tuple[int, int | None], routes.Route] = {}
    for route in sorted(defaults, key=lambda item: item.metric):
        best.setdefault((route.destination.version, route.index), route)
    for (version, index), route in best.items():
        link = None if index is None or route.hops else links.by_index(rtnl, index)
        if link is not None:
            found = [address for _, address in addresses.list_all(rtnl, link.index)]
            own = [x.ip for x in found if x.version == version and not x.is_link_local]
            if own:
                yield OtherLink(link.name, link.index, route.gateway, tuple(own))

"""Our IPAM under another's main plugin, for a further network of a pod (`net1` of Multus)."""

from __future__ import annotations

from dataclasses import replace

from neutron_cni.netlink.facts import PodFacts
from neutron_cni.plugins.ways import brings_default_route
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result


def without_second_default(lease: Lease, wish: bool | None, taken: frozenset[int]) -> Result:
    """The lease as a result whose every route can be made, as others' main plugins make them all.

    `taken`: the IP versions of which the pod has a default route by another interface. `wish`: what
    the plugin object says, None if it depends on that. Raises CniError CONFLICT if a default route
    is asked for and the pod has another one.
    """
    result, inside = lease.to_result(), PodFacts(defaults=taken)
    routes = [
        route
        for route in result.routes
        if route.destination.prefixlen
        or brings_default_route(route.destination.version, wish, inside)
    ]
    return replace(result, routes=tuple(routes))

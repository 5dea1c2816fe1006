"""Takes a plan back: DEL. Works from names and the plan alone, with or without the pod."""

from __future__ import annotations

from neutron_cni.netlink import links, neighbours, routes
from neutron_cni.netlink.identity import made_by
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Plan, Side, Veth
from neutron_cni.netlink.rtnl import Request, Rtnl
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError


def undo(plan: Plan, netns: str | None) -> None:
    """Remove from the kernel what `apply(plan, ...)` made; what is missing is fine.

    `netns` may be None or a path that is gone. Links, routes and proxy entries that now belong
    to someone else stay: a link must carry the plan's alias, a route must be by the plan's
    link, and a proxy entry goes only while no other link has a route to its address.
    Dummy links and sysctls of shared links stay, as other pods use them.
    Raises CniError KERNEL. Deleting a veth takes the kernel 11-20 ms (it waits for RCU).
    """
    with Rtnl.here() as host:
        requests: list[Request] = []
        doomed: list[Link] = []
        for veth in plan.veths:
            link = links.get(host, veth.host_name)
            if link is not None and made_by(link, veth):
                doomed.append(link)
            elif link is None and netns:
                _remove_pod_end(veth, netns)
        requests += _proxies(plan, host, {link.index for link in doomed})
        requests += _routes(plan, host)
        requests += [links.delete(link.index, link.name) for link in doomed]
        host.run(requests)


def remove_stale_proxies() -> list[IPAddress]:
    """Remove our proxy entries for addresses that no link of the node has a route to.

    They are left when a sandbox goes without a DEL and its lease is lost, and the node would go
    on answering for an address that is another node's by now. Needs no record: `apply` adds
    the host route before the entry, and marks the entry. Returns the addresses.
    """
    with Rtnl.here() as host:
        stale = [
            (index, address)
            for index, address in neighbours.own_proxies(host)
            if routes.find(host, routes.host_network(address)) is None
        ]
        host.run([neighbours.delete_proxy(address, index) for index, address in stale])
    return [address for _, address in stale]


def _proxies(plan: Plan, host: Rtnl, own: set[int]) -> list[Request]:
    """Proxy entries to remove, looked up while the routes of the doomed links still stand.

    Those of the plan, and those on any link for the addresses that are routed to the doomed
    links: the lease may be lost and the plan empty, or the uplink be another one by now.
    """
    routed = _routed(host, own)
    found = {(index, address) for index, address in neighbours.list_proxies(host, routed)}
    for proxy in plan.proxies:
        link = links.get(host, proxy.link)
        if link is None or proxy.address in routed:
            continue
        # A route by another link: the address was given to another pod of this node since,
        # and the entry is that pod's now.
        if routes.find(host, routes.host_network(proxy.address)) is None:
            found.add((link.index, proxy.address))
    return [neighbours.delete_proxy(address, index) for index, address in found]


def _routed(host: Rtnl, own: set[int]) -> set[IPAddress]:
    """The single addresses that are routed to the links of the indexes `own`."""
    return {
        route.destination.network_address
        for index in own
        for version in (4, 6)
        for route in routes.list_all(host, version=version, index=index)
        if route.destination.prefixlen == route.destination.max_prefixlen
    }


def _routes(plan: Plan, host: Rtnl) -> list[Request]:
    """The node's routes by links that are not the plan's own; the others go with their link."""
    requests = []
    for route in plan.routes:
        if route.side is Side.HOST and not plan.owns(Side.HOST, route.link):
            link = links.get(host, route.link)
            if link is not None:
                requests.append(routes.delete(route, link.index))
    return requests


def _remove_pod_end(veth: Veth, netns: str) -> None:
    """Delete the pod's end when the node's end is not found by name (someone renamed it)."""
    try:
        pod = Namespace.open_pod(netns)
    except CniError:
        return  # The namespace is gone, and its end of the pair with it.
    with pod, Rtnl.inside(pod) as rtnl:
        link = links.get(rtnl, veth.pod_name)
        if link is not None and link.kind == "veth" and link.mac == veth.pod_mac:
            rtnl.run([links.delete(link.index, link.name)])

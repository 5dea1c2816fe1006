"""Removes what a plan made (DEL). It needs the plan alone, and works without the pod, too."""

from __future__ import annotations

from functools import partial

from neutron_cni.netlink import links, neighbours, nic_records, routes, rules
from neutron_cni.netlink.kinds import kind_of, moved
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Plan, Side, WantedLink
from neutron_cni.netlink.rtnl import Request, Rtnl
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError


def undo(plan: Plan, netns: str | None) -> None:
    """Remove from the kernel what `apply(plan, ...)` made; what is missing is fine.

    `netns` is the pod's path; it may be None or gone. What has another owner by now stays: a link
    must carry the plan's alias, a route must go by the plan's link, a rule must be equal in every
    field, and a proxy entry or a rule for an address only while no other link has a route to it.
    Dummy links, sysctls of shared links and the node's packet rules stay, as other pods use them.
    The pod's rules and packet rules go unless a link by a name of the plan's is still in the pod:
    then they are another attachment's, but for rules for single sources.
    Raises CniError KERNEL. Deleting a veth takes the kernel 11-20 ms (it waits for RCU).
    """
    with Rtnl.here() as host:
        requests: list[Request] = []
        doomed: list[Link] = []
        for wanted in plan.links:
            link = kind_of(wanted).to_delete(wanted, host)
            if link is not None:
                doomed.append(link)
            elif netns and not _is_on_node(wanted, host):
                _clear_pod(wanted, netns)
            kind_of(wanted).put_back(wanted, host)
        requests += _proxies(plan, host, {link.index for link in doomed})
        requests += _routes(plan, host)
        requests += _rules(plan, host, {link.index for link in doomed})
        requests += [links.delete(link.index, link.name) for link in doomed]
        host.run(requests)
    if netns:
        _clear_rules(plan, netns)


def remove_stale_entries() -> list[IPAddress]:
    """Remove neutron-cni's proxy entries, and rules for single sources, of addresses that no link
    of the node has a route to.

    Such entries are left when a sandbox goes without a DEL and its lease is lost. The node would
    go on answering for an address that is another node's by now; and a later pod with the address
    would have its packets sent by the NIC of the former. No record is needed: `apply` adds the host
    route before both, and marks both. Returns the addresses.
    """
    with Rtnl.here() as host:
        entries = [
            (address, neighbours.delete_proxy(address, index))
            for index, address in neighbours.own_proxies(host)
        ]
        entries += [
            (source, rules.delete(rule))
            for version in (4, 6)
            for rule in rules.own(host, Side.HOST, version)
            if (source := rules.single_source(rule)) is not None
        ]
        stale = [entry for entry in entries if not is_routed(host, entry[0])]
        host.run([request for _, request in stale])
    return list(dict.fromkeys(address for address, _ in stale))


def bring_late_nics_home() -> list[CniError]:
    """Give NICs back to the node that fell back to it after their DEL; what failed. Raises CniError
    IO_FAILURE."""
    if not nic_records.list_late():
        return []
    with Rtnl.here() as host:
        return moved.bring_late_home(host)


def is_routed(host: Rtnl, address: IPAddress) -> bool:
    """Whether a link has a route to just that address, be the link up or down.

    A lookup passes over links without a carrier where ignore_routes_with_linkdown is set.
    """
    wanted = routes.host_network(address)
    if routes.find(host, wanted) is not None:
        return True
    return any(route.destination == wanted for route in routes.list_all(host, wanted))


def _proxies(plan: Plan, host: Rtnl, own: set[int]) -> list[Request]:
    """Requests to delete proxy entries, made while the routes by the links `own` still exist.

    These are the plan's entries, and the entries on any link for addresses that are routed by
    the links `own`, which are about to be deleted: the lease may be lost and the plan empty, or
    the node may have another uplink by now.
    """
    routed = _routed(host, own)
    found = {(index, address) for index, address in neighbours.list_proxies(host, routed)}
    for proxy in plan.proxies:
        link = links.get(host, proxy.link)
        if link is None or proxy.address in routed:
            continue
        # If another link has a route to the address, another pod of this node has got the
        # address since, and the entry is that pod's now.
        if routes.find(host, routes.host_network(proxy.address)) is None:
            found.add((link.index, proxy.address))
    return [neighbours.delete_proxy(address, index) for index, address in found]


def _routed(host: Rtnl, own: set[int]) -> set[IPAddress]:
    """The single addresses with a route by one of the links whose indexes are `own`."""
    return {
        route.destination.network_address
        for index in own
        for version in (4, 6)
        for route in routes.list_all(host, version=version, index=index)
        if route.destination.prefixlen == route.destination.max_prefixlen
    }


def _rules(plan: Plan, host: Rtnl, own: set[int]) -> list[Request]:
    """Requests to delete the node's rules of the plan, while the routes by `own` still exist.

    Also our rules for sources that the plan does not name and that are routed by these links: the
    lease may be lost. If another link has a route to a source, another pod of this node has got
    the address since, and the rules are that pod's now.
    """
    named = [rule for rule in plan.rules if rule.side is Side.HOST]
    routed = _routed(host, own)
    others = {
        address
        for rule in named
        if (address := rules.single_source(rule)) is not None
        and address not in routed
        and routes.find(host, routes.host_network(address)) is not None
    }
    requests = [rules.delete(rule) for rule in named if rules.single_source(rule) not in others]
    unnamed = routed - {rules.single_source(rule) for rule in named}
    for version in {address.version for address in unnamed}:
        for rule in rules.own(host, Side.HOST, version):
            if rules.single_source(rule) in unnamed:
                requests.append(rules.delete(rule))
    return requests


def _routes(plan: Plan, host: Rtnl) -> list[Request]:
    """Requests to delete the node's routes by shared links; other routes go with their link."""
    requests = []
    for route in plan.routes:
        if route.side is Side.HOST and not plan.owns(Side.HOST, route.link):
            link = links.get(host, route.link)
            if link is not None:
                requests.append(routes.delete(route, link.index))
    return requests


def _is_on_node(wanted: WantedLink, host: Rtnl) -> bool:
    name = wanted.name_on(Side.HOST)
    return name is not None and links.get(host, name) is not None


def _clear_pod(wanted: WantedLink, netns: str) -> None:
    """Remove the pod's end of a link whose end on the node is not found (it was renamed)."""
    try:
        pod = Namespace.open_pod(netns)
    except CniError:
        return  # The namespace is gone, and the end of the link with it.
    with pod, Rtnl.inside(pod) as rtnl:
        kind_of(wanted).clear_pod(wanted, rtnl)


def _clear_rules(plan: Plan, netns: str) -> None:
    """Remove the plan's rules and packet rules from the pod, where the namespace still exists.

    The plan's own links are gone by now. They need not be this plan's: of two networks of a pod
    the second may have found all that it wants, and have made nothing. But a rule for what a single
    address sends is of the attachment that has the address.
    """
    named = [rule for rule in plan.rules if rule.side is Side.POD]
    marks = [item for item in plan.filters if item.side is Side.POD]
    if not named and not marks:
        return
    try:
        pod = Namespace.open_pod(netns)
    except CniError:
        return  # The namespace is gone, and its rules with it.
    with pod, Rtnl.inside(pod) as rtnl:
        names = (link.name_on(Side.POD) for link in plan.links)
        others = any(name is not None and links.get(rtnl, name) is not None for name in names)
        rtnl.run(
            [rules.delete(x) for x in named if not others or rules.single_source(x) is not None]
        )
        if others:
            return
        if marks:
            from neutron_cni.netlink import filters  # Most plans have none.

            pod.call(partial(filters.remove, marks, Side.POD))

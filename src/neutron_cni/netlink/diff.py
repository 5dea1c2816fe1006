"""Names every difference between a plan and the kernel.

CHECK uses it; a doctor and a repair loop, which do not exist yet, are to use it as well.

`observe_plan` reads the kernel, `compare` is a pure function of what it has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from neutron_cni.netlink import addresses, links, neighbours, routes, rules, sysctl
from neutron_cni.netlink.kinds import kind_of
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import LinkAddress, LinkRoute, PacketRules, Path, Plan, Rule, Side
from neutron_cni.netlink.routes import Route
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import IPAddress, IPInterface
from neutron_cni.values.errors import CniError


@dataclass(frozen=True, slots=True)
class View:
    """What one namespace has of all that a plan names; what it lacks is not in the maps.

    `links` and `addresses` are by the name of the link. `holders` are the names, by index, of the
    links that the routes go by. `routes` are those that were found for the plan's, `paths` the
    indexes of the links by which what the plan's paths speak of really leaves. `neighbours`
    are by link and address; a neighbour is (MAC, whether permanent). `sysctls` are values by key.
    `filters` say what is wrong with the packet rules: no words if nothing is.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    holders: Mapping[int, str] = field(default_factory=dict)
    addresses: Mapping[str, frozenset[IPInterface]] = field(default_factory=dict)
    routes: Mapping[LinkRoute, Route] = field(default_factory=dict)
    paths: Mapping[Path, int] = field(default_factory=dict)
    rules: frozenset[Rule] = frozenset()
    neighbours: Mapping[tuple[str, IPAddress], tuple[str, bool]] = field(default_factory=dict)
    proxies: frozenset[tuple[str, IPAddress]] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[PacketRules, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What both namespaces have. If `pod` is None, `unreachable` says why it could not be read."""

    host: View
    pod: View | None
    unreachable: str = ""


def diff(plan: Plan, netns: str, further: AbstractSet[IPAddress] = frozenset()) -> list[str]:
    """A sentence for each difference between `plan` and the kernel; raises CniError KERNEL.

    `netns` is the path of the pod's namespace. If it can't be read, that is a difference.
    `further` are addresses that the plan does not name and that its own links may have.
    """
    return compare(plan, observe_plan(plan, netns), further)


def observe_plan(plan: Plan, netns: str) -> Observed:
    """Look up all that `plan` names, in the caller's namespace and in the pod's at `netns`."""
    host = _view(plan, Side.HOST)
    try:
        with Namespace.open_pod(netns) as namespace:
            pod = namespace.call(lambda: _view(plan, Side.POD))
    except CniError as error:
        return Observed(host, None, error.message)
    return Observed(host, pod)


def compare(
    plan: Plan, observed: Observed, further: AbstractSet[IPAddress] = frozenset()
) -> list[str]:
    """The differences as sentences: the node's first, and links before what depends on them."""
    sentences = list(_differences(plan, Side.HOST, observed.host, further))
    if observed.pod is None:
        return [*sentences, f"the pod can't be looked at: {observed.unreachable}"]
    return [*sentences, *_differences(plan, Side.POD, observed.pod, further)]


def _view(plan: Plan, side: Side) -> View:
    """What the calling thread's namespace, which is that of `side`, has of the plan."""
    with Rtnl.here() as rtnl:
        named = {name: links.get(rtnl, name) for name in sorted(plan.names(side))}
        there = {name: link for name, link in named.items() if link is not None}
        found = {
            item: _found(rtnl, item, there)
            for item in plan.routes
            if item.side is side and item.checked and not item.shared
        }
        ways = {
            item: routes.way_out(rtnl, item.source, there[item.incoming].index)
            for item in plan.paths
            if side is Side.HOST and item.incoming in there
        }
        by = {route.index for route in found.values() if route is not None} | {*ways.values()}
        holders = [links.by_index(rtnl, index) for index in by if index is not None]
        neighbour = {
            (item.link, item.address): neighbours.find(rtnl, item.address, there[item.link].index)
            for item in plan.neighbours
            if item.side is side and item.permanent and item.link in there
        }
        return View(
            links=there,
            holders={link.index: link.name for link in holders if link is not None},
            addresses={
                name: frozenset(address for _, address in addresses.list_all(rtnl, link.index))
                for name, link in there.items()
            },
            routes={item: route for item, route in found.items() if route is not None},
            paths={item: index for item, index in ways.items() if index is not None},
            rules=frozenset(
                rule
                for version in {item.version for item in plan.rules if item.side is side}
                for rule in rules.own(rtnl, side, version)
            ),
            neighbours={key: entry for key, entry in neighbour.items() if entry is not None},
            proxies=frozenset(
                (item.link, item.address)
                for item in plan.proxies
                if item.side is side
                and item.link in there
                and neighbours.has_proxy(rtnl, item.address, there[item.link].index)
            ),
            sysctls={
                item.key: value
                for item in plan.sysctls
                if item.side is side
                and item.checked
                and (value := sysctl.read(item.key)) is not None
            },
            filters=_filters(plan, side),
        )


def _filters(plan: Plan, side: Side) -> Mapping[PacketRules, tuple[str, ...]]:
    if not any(item.side is side for item in plan.filters):
        return {}
    from neutron_cni.netlink import filters  # Most plans have none.

    return filters.faults(plan.filters, side)


def _found(rtnl: Rtnl, wanted: LinkRoute, there: Mapping[str, Link]) -> Route | None:
    """The route that is in the place of `wanted`.

    A later plugin may have moved a pod's route to another table, or given it another metric.
    """
    found = routes.find(rtnl, wanted.destination, wanted.table, wanted.metric)
    link = there.get(wanted.link)
    right = found is not None and link is not None and found.index == link.index
    if right or link is None or wanted.side is Side.HOST:
        return found
    return routes.in_use(rtnl, wanted, link.index) or found


def _differences(
    plan: Plan, side: Side, view: View, further: AbstractSet[IPAddress]
) -> Iterator[str]:
    yield from _links(plan, side, view)
    yield from _addresses(plan, side, view, further)
    for route in plan.routes:
        if route.side is side and route.checked and not route.shared:
            yield from _route(route, view)
    for path in plan.paths if side is Side.HOST else ():
        by = view.holders.get(view.paths.get(path, 0))
        if by is not None and by != path.link:
            yield (
                f"{side}: what comes from {path.source} leaves by {by} and not by {path.link}, "
                "whose port lets it pass"
            )
    for rule in (item for item in plan.rules if item.side is side and item.checked):
        if rule not in view.rules:
            yield f"{side}: {rules.describe(rule)} is missing"
    for item in (item for item in plan.filters if item.side is side):
        for fault in view.filters.get(item, ()):
            yield f"{side}: {fault}"
    yield from _neighbours(plan, side, view)
    for setting in (item for item in plan.sysctls if item.side is side and item.checked):
        value = view.sysctls.get(setting.key)
        # A missing link has no sysctls either: the sentence about the link is enough.
        gone = setting.link in plan.names(side) and setting.link not in view.links
        right = value in (setting.value, *setting.as_good)
        if not (gone or right) and (value is not None or setting.required):
            yield f"{side}: {setting.key} is {value or 'missing'}, not {setting.value}"


def _links(plan: Plan, side: Side, view: View) -> Iterator[str]:
    for name in sorted(plan.names(side) - view.links.keys()):
        yield f"{side}: the link {name} is missing"
    for wanted in plan.links:
        link = view.links.get(wanted.name_on(side) or "")
        if link is not None:
            yield from kind_of(wanted).differences(wanted, side, link)
    for name, link in view.links.items():
        if not link.up:
            yield f"{side}: the link {name} is down"


def _addresses(
    plan: Plan, side: Side, view: View, further: AbstractSet[IPAddress]
) -> Iterator[str]:
    wanted = [item for item in plan.addresses if item.side is side]
    for item in wanted:
        there = view.addresses.get(item.link)
        if there is not None and not any(_is_as_wanted(item, address) for address in there):
            yield f"{side}: the address {item.address} is missing on {item.link}"
    known = {(item.link, item.address.ip) for item in wanted}
    for link, addresses_there in view.addresses.items():
        for address in sorted(addresses_there, key=str) if plan.owns(side, link) else ():
            # The kernel itself gives a link-local address to every link.
            is_known = address.is_link_local or address.ip in further
            if (link, address.ip) not in known and not is_known:
                yield f"{side}: {link} also has the address {address}, which ADD did not give it"


def _is_as_wanted(item: LinkAddress, found: IPInterface) -> bool:
    """Without a route to its subnet an address's prefix length has no effect. A lease from
    prevResult has another one than that which ADD was given."""
    return found == item.address if item.prefix_route else found.ip == item.address.ip


def _route(wanted: LinkRoute, view: View) -> Iterator[str]:
    found = view.routes.get(wanted)
    text = routes.describe(wanted)
    if found is None:
        yield f"{wanted.side}: {text} is missing"
    elif found.local:
        yield f"{wanted.side}: {text} has no effect: the address is this namespace's own"
    elif (by := view.holders.get(found.index or 0, "no link")) != wanted.link:
        yield f"{wanted.side}: {text} goes by {by} instead"
    elif found.gateway != wanted.gateway:
        yield f"{wanted.side}: {text} goes via {found.gateway or 'no gateway'} instead"
    elif wanted.source is not None and found.source != wanted.source:
        yield f"{wanted.side}: {text} has the source {found.source}, not {wanted.source}"
    elif wanted.mtu is not None and found.mtu != wanted.mtu:
        yield f"{wanted.side}: {text} has the MTU {found.mtu}, not {wanted.mtu}"
    elif wanted.destination.version == 4 and found.scope != wanted.scope:
        yield f"{wanted.side}: {text} has the scope {found.scope}, not {wanted.scope}"


def _neighbours(plan: Plan, side: Side, view: View) -> Iterator[str]:
    for wanted in plan.neighbours:
        if wanted.side is side and wanted.permanent and wanted.link in view.links:
            mac, permanent = view.neighbours.get((wanted.link, wanted.address), ("", False))
            entry = f"the neighbour {wanted.address} on {wanted.link}"
            if not mac:
                yield f"{side}: {entry} is missing"
            elif mac != wanted.mac:
                yield f"{side}: {entry} is at {mac}, not {wanted.mac}"
            elif not permanent:
                yield f"{side}: {entry} is not permanent"
    for proxy in plan.proxies:
        answers = (proxy.link, proxy.address) in view.proxies
        if proxy.side is side and proxy.link in view.links and not answers:
            yield f"{side}: {proxy.link} does not answer for {proxy.address} (proxy neighbour)"

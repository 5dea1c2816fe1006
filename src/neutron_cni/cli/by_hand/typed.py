"""What plugins did, as the commands that one would have typed. Pure: from what was seen before and
after.

Seen are links, addresses, routes, rules, and permanent neighbours. On the node only what belongs to
the attachment is told, as other containers come and go there at the same time; settings (sysctls)
and packet rules are not seen.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespaces import NAMED
from neutron_cni.netlink.plan import MAIN_TABLE, Rule
from neutron_cni.netlink.routes import Route, standard_metric
from neutron_cni.netlink.rules import single_source
from neutron_cni.netlink.scene import Scene
from neutron_cni.values.address import IPAddress, IPInterface

T = TypeVar("T")

_IPVLAN = {0: "l2", 1: "l3", 2: "l3s"}
_MACVLAN = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
_FIRST_LINK = "lo"


@dataclass(frozen=True, slots=True)
class Seen:
    """The node and the container's namespace, at one moment."""

    node: Scene
    pod: Scene


def attached(before: Seen, after: Seen, netns: str) -> list[str]:
    """The commands that lead from `before` to `after`; `netns` is the namespace's path."""
    return list(_Attached(before, after, netns).commands())


def detached(before: Seen, after: Seen, netns: str) -> list[str]:
    """The same for what was taken away."""
    return list(_detached(before, after, netns))


class _Attached:
    """What is new in the namespace, and what on the node belongs to it."""

    def __init__(self, before: Seen, after: Seen, netns: str) -> None:
        self._before, self._after, self._netns = before, after, netns
        self._pod = _inside(netns)
        known = before.pod.links
        self._new = [x for x in after.pod.links.values() if known.get(x.index) is None]
        indexes = {link.index for link in self._new}
        self._own = [item for item in after.pod.addresses if item[0] in indexes]
        self._addresses = {address.ip for _, address in self._own if not address.is_link_local}
        fresh = [x for x in after.node.links.values() if x.index not in before.node.links]
        ends = [link for link in fresh if self._is_end(link)]
        masters = {link.master for link in ends}
        gateways = {route.gateway for route in after.pod.routes if route.index in indexes}
        self._shared = [link for link in fresh if self._is_shared(link, masters, gateways)]
        self._ends = {link.index: link for link in ends}

    def commands(self) -> Iterator[str]:
        for link in self._shared:
            yield f"ip link add {_name(link)}" + (f" type {link.kind}" if link.kind else "")
            yield f"ip link set {_name(link)} up"
        nodes = {link.index for link in self._shared}
        yield from self._node_addresses(nodes)
        for link in self._new:
            yield from self._link(link)
        yield from self._rest_of_pod()
        yield from self._rest_of_node()

    def _is_end(self, link: Link) -> bool:
        """Whether it is the node's end of a veth whose other one is new in the container."""
        return link.kind == "veth" and any(
            x.kind == "veth" and x.peer == link.index and x.index == link.peer for x in self._new
        )

    def _is_shared(
        self, link: Link, masters: set[int | None], gateways: set[IPAddress | None]
    ) -> bool:
        """Whether it is the bridge that an end is in, or has the address of a gateway."""
        own = {address.ip for index, address in self._after.node.addresses if index == link.index}
        return link.index in masters or (link.kind != "veth" and bool(own & gateways))

    def _link(self, link: Link) -> Iterator[str]:
        name, where = _name(link), shlex.quote(_reference(self._netns))
        end = self._ends.get(link.peer or 0) if link.kind == "veth" else None
        parent = self._after.node.links.get(link.peer or 0)
        if end is not None:
            host, peer = f"{_name(end)} address {end.mac}", f"{name} address {link.mac}"
            yield f"ip link add {host} type veth peer name {peer} netns {where}"
            master = self._after.node.links.get(end.master or 0)
            more = f" master {_name(master)}" if master is not None else ""
            more += f" alias {shlex.quote(end.alias)}" if end.alias else ""
            yield f"ip link set {_name(end)} mtu {end.mtu}{more} up"
        elif link.kind in ("ipvlan", "macvlan") and parent is not None:
            mode = _IPVLAN.get(link.ipvlan_mode if link.ipvlan_mode is not None else -1, "")
            mode = mode or _MACVLAN.get(link.macvlan_mode or 0, "")
            kind = f"{link.kind} mode {mode}" if mode else link.kind
            yield f"ip link add link {_name(parent)} name {name} netns {where} type {kind}"
        elif (former := _moved(link, self._before.node, self._after.node)) is not None:
            yield f"ip link set {_name(former)} netns {where}"
            if former.name != link.name:
                yield f"{self._pod} link set {_name(former)} name {name}"
        else:
            yield f"# {name} ({link.kind or 'a device'}) was made or moved here by the plugin"
        alias = f" alias {shlex.quote(link.alias)}" if link.alias else ""
        yield f"{self._pod} link set {name} mtu {link.mtu}{alias}{' up' if link.up else ''}"

    def _rest_of_pod(self) -> Iterator[str]:
        before, after = self._before.pod, self._after.pod
        lo = next((x for x in after.links.values() if x.name == _FIRST_LINK), None)
        if lo is not None and lo.up and not before.links.get(lo.index, lo).up:
            yield f"{self._pod} link set {_FIRST_LINK} up"
        for index, address in _added(before.addresses, after.addresses):
            if not (address.is_link_local or address.is_loopback):
                more = "" if _has_prefix_route(after, index, address) else " noprefixroute"
                yield f"{self._pod} addr add {address} dev {_at(after, index)}{more}"
        for index, near, mac in _added(before.neighbours, after.neighbours):
            yield f"{self._pod} neigh add {near} lladdr {mac} dev {_at(after, index)} nud permanent"
        for route in _in_order(_added(before.routes, after.routes)):
            yield f"{self._pod} {_route('add', route, after)}"
        for rule in _added(before.rules, after.rules):
            yield f"{self._pod} {_rule('add', rule)}"

    def _node_addresses(self, indexes: set[int]) -> Iterator[str]:
        node = self._after.node
        for index, address in _added(self._before.node.addresses, node.addresses):
            if index in indexes and not address.is_link_local:
                yield f"ip addr add {address} dev {_at(node, index)}"

    def _rest_of_node(self) -> Iterator[str]:
        before, after = self._before.node, self._after.node
        yield from self._node_addresses(set(self._ends))
        for index, near, mac in _added(before.neighbours, after.neighbours):
            if index in self._ends:
                yield f"ip neigh add {near} lladdr {mac} dev {_at(after, index)} nud permanent"
        for route in _in_order(_added(before.routes, after.routes)):
            if route.index in self._ends or _is_to(route, self._addresses):
                yield f"ip {_route('add', route, after)}"
        for index, address in _added(before.proxies, after.proxies):
            if address in self._addresses:
                yield f"ip neigh add proxy {address} dev {_at(after, index)}"
        for rule in _added(before.rules, after.rules):
            if single_source(rule) in self._addresses:
                yield f"ip {_rule('add', rule)}"


def _added(before: tuple[T, ...], after: tuple[T, ...]) -> list[T]:
    known = set(before)
    return [item for item in after if item not in known]


def _has_prefix_route(scene: Scene, index: int, address: IPInterface) -> bool:
    """Whether the kernel made the route to the address's network, as it does unless told not to."""
    network = address.network
    return network.num_addresses == 1 or any(
        item.by_kernel and item.index == index and item.destination == network
        for item in scene.routes
    )


def _detached(before: Seen, after: Seen, netns: str) -> Iterator[str]:
    pod = _inside(netns)
    gone = {i: x for i, x in before.pod.links.items() if i not in after.pod.links}
    addresses = {a.ip for i, a in before.pod.addresses if i in gone and not a.is_link_local}
    for rule in before.pod.rules:
        if rule not in after.pod.rules:
            yield f"{pod} {_rule('del', rule)}"
    for link in gone.values():
        home = _moved(link, after.node, before.node)
        if home is not None:
            yield f"{pod} link set {_name(link)} down"
            yield f"{pod} link set {_name(link)} netns 1 name {_name(home)}"
        else:
            yield f"{pod} link del {_name(link)}"
    kept = after.node.links
    for route in before.node.routes:
        stays = route.index in kept and route not in after.node.routes
        if stays and _is_to(route, addresses):
            yield f"ip {_route('del', route, before.node)}"
    for index, address in before.node.proxies:
        if address in addresses and (index, address) not in after.node.proxies:
            yield f"ip neigh del proxy {address} dev {_at(before.node, index)}"
    for rule in before.node.rules:
        if rule not in after.node.rules and single_source(rule) in addresses:
            yield f"ip {_rule('del', rule)}"


def _moved(link: Link, there: Scene, gone: Scene) -> Link | None:
    """The link of `there` that has the MAC of `link` and is not in `gone`: the same NIC."""
    for item in there.links.values():
        if item.index not in gone.links and item.mac == link.mac and item.kind == link.kind:
            return item
    return None


def _is_to(route: Route, addresses: set[IPAddress]) -> bool:
    network = route.destination
    return network.num_addresses == 1 and network.network_address in addresses


def _in_order(routes: list[Route]) -> list[Route]:
    """Those that others' gateways are reached by come first; the kernel's own are not typed."""
    return sorted((x for x in routes if not x.by_kernel), key=lambda x: x.gateway is not None)


def _route(verb: str, route: Route, scene: Scene) -> str:
    plain = route.destination.prefixlen > 0
    words = ["route", verb, str(route.destination) if plain else "default"]
    words += ["via", str(route.gateway)] if route.gateway is not None else []
    words += ["dev", _at(scene, route.index or 0)]
    words += ["src", str(route.source)] if route.source is not None else []
    words += ["scope", "link"] if route.scope == "link" and route.destination.version == 4 else []
    words += ["mtu", str(route.mtu)] if route.mtu else []
    words += ["table", str(route.table)] if route.table != MAIN_TABLE else []
    words += ["metric", str(route.metric)] if route.metric != standard_metric(route) else []
    return ("-6 " if route.destination.version == 6 else "") + " ".join(words)


def _rule(verb: str, rule: Rule) -> str:
    words = ["rule", verb, "from", str(rule.source) if rule.source is not None else "all"]
    words += ["fwmark", f"{rule.mark:#x}"] if rule.mark is not None else []
    words += ["iif", shlex.quote(rule.incoming)] if rule.incoming else []
    words += ["lookup", str(rule.table), "priority", str(rule.priority)]
    if rule.suppress_prefixlength is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefixlength)]
    return ("-6 " if rule.version == 6 else "") + " ".join(words)


def _inside(netns: str) -> str:
    """The words of an `ip` command in that namespace."""
    path = Path(netns)
    if path.parent == NAMED[0]:
        return f"ip -n {shlex.quote(path.name)}"
    return f"nsenter --net={shlex.quote(netns)} ip"


def _reference(netns: str) -> str:
    """The namespace as `ip link set ... netns` takes it: a name of its own, or a path."""
    path = Path(netns)
    return path.name if path.parent == NAMED[0] else netns


def _at(scene: Scene, index: int) -> str:
    link = scene.links.get(index)
    return _name(link) if link is not None else f"if{index}"


def _name(link: Link) -> str:
    return shlex.quote(link.name)

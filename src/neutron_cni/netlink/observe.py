"""Reads facts about the node and about pods. Changes nothing, but see `kind_possible`."""

from __future__ import annotations

import errno
from collections.abc import Set as AbstractSet
from dataclasses import replace

from neutron_cni.netlink import addresses, links, routes, sysctl
from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.firewall import forward_drops
from neutron_cni.netlink.kinds import kind_of
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace, is_netns, namespace_identity
from neutron_cni.netlink.plan import Plan
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork, anywhere
from neutron_cni.values.errors import CniError, Code

__all__ = [
    "find_uplink",
    "host_facts",
    "inspect",
    "is_netns",
    "link_exists",
    "links_with_alias",
    "namespace_identity",
    "pod_addresses",
    "pod_links",
]


def host_facts(
    host_interface: str | None = None,
    dummy_name: str = "dummy0",
    nic_mac: str = "",
    *,
    key: str = "hostInterface",
    ipvlan: bool = False,
    own_addresses: bool = False,
) -> HostFacts:
    """The facts about the caller's namespace that plans are made from.

    `host_interface` names the uplink; None: the NIC with `nic_mac`, or if that is empty or no NIC
    of the node has it, the link of the default route. `dummy_name` names the dummy link to ask
    about; it is empty if no plan needs one. `ipvlan`: the uplink is to have children.
    `own_addresses`: a plan needs all of the node's.
    Raises CniError INVALID_CONFIG if the link `host_interface` does not exist, and names the `key`
    of the configuration that says so.
    """
    with Rtnl.here() as rtnl:
        uplink = _uplink(rtnl, host_interface, nic_mac, key)
        return HostFacts(
            uplink=_as_parent(rtnl, uplink) if ipvlan and uplink else uplink,
            dummy=bool(dummy_name) and _dummy_possible(rtnl, dummy_name),
            ipv6=sysctl.read("net/ipv6/conf/all/forwarding") is not None,
            force_forwarding=sysctl.read("net/ipv6/conf/all/force_forwarding") is not None,
            ipv6_forwarding=sysctl.read("net/ipv6/conf/all/forwarding") == "1",
            forward_drops=forward_drops(),
            ipvlan=ipvlan and _ipvlan_possible(rtnl),
            addresses=_own_addresses(rtnl) if own_addresses else (),
        )


def find_uplink(host_interface: str | None = None) -> Uplink | None:
    """The link `host_interface`, or the link of the default route, IPv4's before IPv6's.

    None if it is not named and there is no default route. Raises CniError INVALID_CONFIG if it is
    named and does not exist.
    """
    with Rtnl.here() as rtnl:
        return _uplink(rtnl, host_interface)


def link_exists(netns: str, ifname: str) -> bool:
    """Whether the namespace at the path `netns` has a link `ifname`.

    Raises CniError INVALID_ENVIRONMENT if `netns` is no network namespace.
    """
    with Namespace.open(netns) as namespace, Rtnl.inside(namespace) as rtnl:
        return links.get(rtnl, ifname) is not None


def pod_links(netns: str) -> list[Link]:
    """All links of the namespace at the path `netns`.

    Raises CniError INVALID_ENVIRONMENT if `netns` is no network namespace.
    """
    with Namespace.open(netns) as namespace, Rtnl.inside(namespace) as rtnl:
        return links.list_all(rtnl)


def pod_addresses(netns: str) -> dict[str, tuple[IPInterface, ...]]:
    """The addresses of each link but `lo` of the namespace at the path `netns`, by link name.

    Link-local addresses are left out. Raises CniError INVALID_ENVIRONMENT if `netns` is no
    network namespace.
    """
    with Namespace.open(netns) as namespace:
        return namespace.call(addresses_here)


def addresses_here() -> dict[str, tuple[IPInterface, ...]]:
    """The same of the calling thread's namespace."""
    with Rtnl.here() as rtnl:
        found = addresses.list_all(rtnl)
        return {
            link.name: tuple(
                address
                for index, address in found
                if index == link.index and not address.is_link_local
            )
            for link in links.list_all(rtnl)
            if link.name != "lo"
        }


def inspect(plan: Plan, netns: str) -> bool:
    """Whether all links of `plan` exist already, made by an earlier `apply` of it.

    Raises CniError INVALID_ENVIRONMENT (`netns` is no network namespace, or the node's own) and
    CONFLICT (an interface of another owner has a name that the plan needs).
    """
    with (
        Namespace.open_pod(netns) as namespace,
        Rtnl.here() as host,
        Rtnl.inside(namespace) as pod,
    ):
        # A list, so that a conflict of the second link is found even if the first is missing.
        found = [kind_of(link).made_before(link, host, pod, netns) for link in plan.links]
        return bool(found) and all(found)


def links_with_alias(prefix: str) -> list[Link]:
    """The node's links whose alias begins with `prefix`; GC goes through them."""
    with Rtnl.here() as rtnl:
        return [link for link in links.list_all(rtnl) if link.alias.startswith(prefix)]


def versions_routed_by(indexes: AbstractSet[int]) -> frozenset[int]:
    """The IP versions (4, 6) of the single addresses that the node's links of these indexes lead
    to."""
    with Rtnl.here() as rtnl:
        return frozenset(
            version
            for version in (4, 6)
            for route in routes.list_all(rtnl, version=version)
            if route.index in indexes and route.destination.num_addresses == 1
        )


def _uplink(
    rtnl: Rtnl, name: str | None, mac: str = "", key: str = "hostInterface"
) -> Uplink | None:
    defaults = {version: _default_routes(rtnl, version) for version in (4, 6)}
    if name is not None:
        link = links.get(rtnl, name)
        if link is None:
            raise CniError(
                Code.INVALID_CONFIG,
                f"the node has no interface {name!r}",
                f"correct {key}, or leave it out to use the NIC of the default route",
            )
    else:
        link = _first_link(rtnl, [*defaults[4], *defaults[6]])
        if mac and (link is None or link.mac != mac):
            link = _nic(rtnl, mac) or link
    if link is None:
        return None
    here = {version for version, found in defaults.items() if _leave_by(found) == {link.index}}
    return _describe(rtnl, link, frozenset(here))


def _nic(rtnl: Rtnl, mac: str) -> Link | None:
    """The node's NIC with that MAC, or the bridge or bond that it is in and that has the MAC too.

    What else is made upon a NIC (a VLAN) may have its MAC as well: the port is the NIC's.
    """
    found = {link.index: link for link in links.list_all(rtnl) if link.mac == mac}
    nic = next((link for link in found.values() if link.kind in ("", "veth")), None)
    return found.get(nic.master or 0, nic) if nic is not None else None


def _default_routes(rtnl: Rtnl, version: int) -> list[routes.Route]:
    """The default routes of an IP version, that of the lowest metric first."""
    return sorted(routes.list_all(rtnl, anywhere(version)), key=lambda route: route.metric)


def _first_link(rtnl: Rtnl, found: list[routes.Route]) -> Link | None:
    """The link of the first of these routes that has one; of several next hops the first's."""
    for route in found:
        link = None if route.index is None else links.by_index(rtnl, route.index)
        if link is not None:
            return link
    return None


def has_static_address(name: str) -> bool:
    """Whether the link has IPv4 addresses, and each of them for good."""
    with Rtnl.here() as rtnl:
        link = links.get(rtnl, name)
        if link is None:
            return False
        found = {item for _, item in addresses.list_all(rtnl, link.index) if item.version == 4}
        fixed = {item for index, item in addresses.list_fixed(rtnl) if index == link.index}
    return bool(found) and found <= fixed


def _leave_by(defaults: list[routes.Route]) -> frozenset[int]:
    """The indexes of all links by which the best of these default routes leaves."""
    best = next((item for item in defaults if item.index is not None), None)
    return (best.hops or frozenset({best.index or 0})) if best else frozenset()


def _describe(rtnl: Rtnl, link: Link, defaults: frozenset[int]) -> Uplink:
    accept_ra = sysctl.read(f"net/ipv6/conf/{link.name}/accept_ra")
    return Uplink(
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        addresses=tuple(
            address
            for _, address in addresses.list_all(rtnl, link.index)
            if not address.is_link_local
        ),
        onlink=_onlink(rtnl, link.index),
        accept_ra=int(accept_ra) if accept_ra is not None else None,
        defaults=defaults,
        ipv6=sysctl.read(f"net/ipv6/conf/{link.name}/disable_ipv6") == "0",
        up=link.up,
    )


def _as_parent(rtnl: Rtnl, uplink: Uplink) -> Uplink:
    """The uplink with what keeps it from having ipvlan children. macvlan children that are in other
    namespaces are not to be seen from here; then the kernel refuses."""
    found = links.list_all(rtnl)
    own = next((link for link in found if link.name == uplink.name), None)
    if own is None:
        return uplink
    return replace(
        uplink,
        master=next((link.name for link in found if link.index == own.master), ""),
        macvlans=tuple(
            link.name
            for link in found
            if link.kind in ("macvlan", "macvtap") and link.peer == own.index
        ),
    )


def _own_addresses(rtnl: Rtnl) -> tuple[IPAddress, ...]:
    found = (address.ip for _, address in addresses.list_all(rtnl))
    return tuple(dict.fromkeys(ip for ip in found if not (ip.is_loopback or ip.is_link_local)))


def _onlink(rtnl: Rtnl, index: int) -> tuple[IPNetwork, ...]:
    """The subnets on the link: what routes by it reach without a gateway.

    Single hosts, link-local and multicast destinations and the default are left out.
    """
    return tuple(
        route.destination
        for version in (4, 6)
        for route in routes.list_all(rtnl, version=version, index=index)
        if route.gateway is None
        and 0 < route.destination.prefixlen < route.destination.max_prefixlen
        and not route.destination.is_link_local
        and not route.destination.is_multicast
    )


def _dummy_possible(rtnl: Rtnl, name: str) -> bool:
    link = links.get(rtnl, name)
    if link is not None:
        return link.kind == "dummy"
    return kind_possible(rtnl, "dummy")


def kind_possible(rtnl: Rtnl, kind: str) -> bool:
    """Whether the kernel can make links of that kind (dummy, veth). Makes no link itself.

    But the kernel may load the module of the kind to answer, and the module `dummy` makes a link
    dummy0 when it is loaded.
    """
    (outcome,) = rtnl.run([links.probe(kind)])
    return outcome.errno == errno.EADDRNOTAVAIL


def _ipvlan_possible(rtnl: Rtnl) -> bool:
    """Whether the kernel can make ipvlan links. Makes none."""
    (outcome,) = rtnl.run([links.probe_ipvlan()])
    return outcome.errno == errno.EINVAL

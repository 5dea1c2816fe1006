"""ipvlan: the pod's interface is a child of the node's NIC, on the Neutron network itself.

In the pod: the subnet's prefix on the link, and the default route by the subnet's gateway. What the
pod sends leaves by the NIC with the NIC's MAC, and passes the node's routing and netfilter by; and
the child can never reach its parent. So what a Kubernetes pod needs of its node goes by a second
interface, which is `veth_host`'s part. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from ipaddress import ip_network

from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.plan import (
    ANY_TABLE,
    Announcement,
    Ipvlan,
    IpvlanMode,
    LinkAddress,
    LinkRoute,
    PacketRules,
    Plan,
    Rule,
    Side,
    Sysctl,
)
from neutron_cni.plugins import forwarding, ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.plugins.ipvlan_config import Config
from neutron_cni.plugins.refusals import require_usable
from neutron_cni.plugins.second_leg import is_further
from neutron_cni.plugins.source_routes import NIC_NEXT
from neutron_cni.plugins.veth_pair import metric_of
from neutron_cni.plugins.ways import brings_default_route
from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork, anywhere
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.result import Interface, IPConfig, Result, Route

__all__ = ["PART", "Config", "asks", "leftovers", "plan", "refuse", "remarks", "result", "shared"]

PART = "ipvlan"

_WARNINGS = {
    IpvlanMode.L3: (
        "mode l3: nobody answers ARP for the pod, as the kernel hands the question to the child, "
        "which does not speak ARP: who has not learnt the MAC from the cloud (ML2/OVN knows it) or "
        "from an announcement does not reach the pod"
    ),
    IpvlanMode.L3S: (
        "mode l3s: what comes in for pods and goes out passes the node's netfilter, too: rules and "
        "connection tracking of the node see it twice where client and backend are on one node"
    ),
}


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    key = "master" if config.master else "hostInterface"
    return Asks(config.master or config.host_interface, key=key, ipvlan=True)


def refuse(config: Config, facts: HostFacts) -> None:
    """See `Page.refuse`. Raises CniError INVALID_CONFIG, or KERNEL if the kernel has no ipvlan.

    Where no NIC is named, `plan` judges it: whose port has the address is known with the lease.
    """
    if not facts.ipvlan:
        raise CniError(
            Code.KERNEL,
            "this kernel has no ipvlan links",
            "load or install the module ipvlan, or use veth-route, which needs none",
        )
    if config.master or config.host_interface:
        _parent(config, facts)


def remarks(config: Config, facts: HostFacts) -> list[str]:
    """See `Page.remarks`."""
    return [_WARNINGS[config.mode]] if config.mode in _WARNINGS else []


def shared(config: Config) -> tuple[PacketRules, ...]:
    """See `Page.shared`. There are none."""
    return ()


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`. Raises CniError CONFLICT or INVALID_CONFIG if the pod could not work."""
    attachment, lease, config = call.attachment, call.lease, call.config
    name = attachment.ifname
    parent, mtu = _parent(config, call.facts), _mtu(call)
    if call.mac:
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"runtimeConfig.mac {call.mac!r}: an ipvlan link has the MAC of its parent",
            "take the capability `mac` away, or use another plugin",
        )
    require_usable(lease, call.facts, mtu)
    versions: set[int] = {item.address.version for item in lease.addresses}
    asked_on_node = config.mode is not IpvlanMode.L2
    proxies = forwarding.proxies(lease, parent) if asked_on_node else ()
    side, link = (Side.HOST, parent.name) if asked_on_node else (Side.POD, name)
    if asked_on_node and not call.inside.answered and is_further(attachment, call.inside, versions):
        raise CniError(
            Code.INVALID_CONFIG,
            f"mode {config.mode}: the pod has another network already, and in this mode the node "
            "answers for a pod only by the first one",
            "take mode l2 for further networks",
        )
    found = _routes(call)
    firsts = {x.destination.version for x in found if not x.destination.prefixlen}
    by_source = _by_source(call, versions - firsts)
    return Plan(
        links=(
            Ipvlan(
                parent.name,
                name,
                ownership.alias(call.network, attachment, PART),
                config.mode,
                mtu,
            ),
        ),
        addresses=tuple(
            LinkAddress(Side.POD, name, item.address, prefix_route=True) for item in lease.addresses
        ),
        routes=(*found, *by_source.routes),
        rules=by_source.rules,
        proxies=proxies,
        sysctls=(
            *_pod_sysctls(name, versions),
            *(
                forwarding.uplink_sysctls(call.facts, versions, proxies, host_forwarding=False)
                if asked_on_node
                else ()
            ),
        ),
        announcements=tuple(Announcement(side, link, item.address.ip) for item in lease.addresses),
        notes=(*remarks(config, call.facts), *_mtu_notes(call, parent)),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. The parent's name does not matter to find the link."""
    alias = ownership.alias(gone.network, gone.attachment, PART)
    uplink = gone.facts.uplink if gone.facts else None
    addresses = [item.address for item in gone.lease.addresses] if gone.lease else []
    return Plan(
        links=(Ipvlan("", gone.attachment.ifname, alias),),
        rules=tuple(_source_rule(item, ANY_TABLE) for item in addresses),
        proxies=forwarding.proxies(gone.lease, uplink) if gone.lease else (),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: the link, its addresses with the subnet's prefix, and the pod's routes."""
    attachment, lease = call.attachment, call.lease
    parent, own = _parent(call.config, call.facts), len(call.before.interfaces)
    kept = {route.destination for route in _routes(call)}
    return Result(
        interfaces=(
            *call.before.interfaces,
            Interface(attachment.ifname, parent.mac, _mtu(call), attachment.netns),
        ),
        ips=(
            *call.before.ips,
            *(IPConfig(item.address, item.gateway, interface=own) for item in lease.addresses),
        ),
        routes=(
            *call.before.routes,
            *(Route(x.destination, x.gateway) for x in lease.routes if x.destination in kept),
        ),
        dns=lease.dns,
    )


def _parent(config: Config, facts: HostFacts) -> Uplink:
    """The NIC that the link is a child of. Raises CniError INVALID_CONFIG if it can't have any."""
    parent = facts.uplink
    if parent is None:
        raise CniError(
            Code.INVALID_CONFIG,
            "the node has no default route, and master is not set",
            "name the NIC of the Neutron network as master",
        )
    key = "master" if config.master else "hostInterface" if config.host_interface else "the NIC"
    if not parent.up:
        raise CniError(
            Code.INVALID_CONFIG, f"{key} {parent.name} is down", f"ip link set {parent.name} up"
        )
    if parent.master:
        raise CniError(
            Code.INVALID_CONFIG,
            f"{key} {parent.name} is a port of {parent.master}, and can't have ipvlan children",
            f"name {parent.master} as master",
        )
    if parent.macvlans:
        raise CniError(
            Code.INVALID_CONFIG,
            f"{key} {parent.name} has macvlan children ({', '.join(parent.macvlans)}), and can't "
            "have ipvlan children besides",
            "use another NIC as master, or one kind of links for all pods",
        )
    if config.mtu and config.mtu > parent.mtu:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mtu {config.mtu} is above that of {parent.name}, {parent.mtu} bytes",
            "leave mtu out, or make the NIC's larger",
        )
    return parent


def _mtu(call: Call[Config]) -> int:
    parent = _parent(call.config, call.facts)
    return call.config.mtu or min(call.lease.mtu or parent.mtu, parent.mtu)


def _mtu_notes(call: Call[Config], parent: Uplink) -> list[str]:
    wanted = call.lease.mtu
    if wanted is None or wanted <= parent.mtu:
        return []
    return [
        f"the Neutron network's MTU is {wanted} bytes, that of {parent.name} only {parent.mtu}: "
        "the pod has the smaller one"
    ]


def _routes(call: Call[Config]) -> list[LinkRoute]:
    """The lease's routes. Of the default routes those that the pod does not have already; of two
    routes to one destination, as two subnets of a network may say, the first."""
    found: dict[IPNetwork, LinkRoute] = {}
    for route in call.lease.routes:
        version = route.destination.version
        if not route.destination.prefixlen and not brings_default_route(
            version, call.config.default_route, call.inside
        ):
            continue
        gateway = route.gateway or _gateway(call, version)
        subnets = [item.address.network for item in call.lease.addresses]
        made = LinkRoute(
            Side.POD,
            call.attachment.ifname,
            route.destination,
            gateway=gateway,
            scope="global" if gateway else "link",
            onlink=gateway is not None and not any(gateway in subnet for subnet in subnets),
            mtu=route.mtu,
        )
        found.setdefault(route.destination, made)
    return list(found.values())


def _gateway(call: Call[Config], version: int) -> IPAddress | None:
    first = (item.gateway for item in call.lease.addresses if item.address.version == version)
    return next((gateway for gateway in first if gateway is not None), None)


def _by_source(call: Call[Config], versions: AbstractSet[int]) -> Plan:
    """Of the IP versions whose default route another interface has: what the addresses send leaves
    by this link, as no other NIC's port lets it pass."""
    table, name = metric_of(call.attachment), call.attachment.ifname
    routes: list[LinkRoute] = []
    rules: list[Rule] = []
    for item in call.lease.addresses:
        version, subnet = item.address.version, item.address.network
        if item.gateway is not None and version in versions:
            rules.append(_source_rule(item.address, table))
            routes.append(LinkRoute(Side.POD, name, subnet, scope="link", table=table))
            everything = LinkRoute(
                Side.POD, name, anywhere(version), gateway=item.gateway, table=table
            )
            if all(route.destination != everything.destination for route in routes):
                routes.append(everything)
    return Plan(routes=tuple(dict.fromkeys(routes)), rules=tuple(rules))


def _source_rule(address: IPInterface, table: int) -> Rule:
    return Rule(Side.POD, address.version, NIC_NEXT, table, source=ip_network(address.ip))


def _pod_sysctls(link: str, versions: set[int]) -> list[Sysctl]:
    """The link answers ARP for its own addresses only, not for those of the pod's second interface.
    Without an IPv6 address it has no IPv6; with one it neither waits for duplicate address
    detection nor listens to router advertisements, as the lease tells all of it."""
    settings = [Sysctl(Side.POD, f"net/ipv4/conf/{link}/arp_ignore", "1")]
    v6 = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.POD, f"{v6}/disable_ipv6", "1", required=False)]
    settings.append(Sysctl(Side.POD, f"{v6}/keep_addr_on_down", "1", checked=False))
    values = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    return settings + [Sysctl(Side.POD, f"{v6}/{key}", value) for key, value in values.items()]

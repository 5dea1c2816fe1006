"""veth-route: the pod has one veth, and the node routes for it.

In the pod: `169.254.1.1 dev eth0 scope link` and `default via 169.254.1.1`. On the node: a host
route to the pod's address by the veth. The pod shares no broadcast domain with other hosts. So
it needs no address of its subnet but its own, and all that it sends passes the node, where
kube-proxy's rules apply. Everything here is pure: facts and values in, a plan out.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from ipaddress import ip_interface, ip_network

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import (
    Dummy,
    LinkAddress,
    LinkRoute,
    Neighbour,
    PacketRules,
    Plan,
    ProxyNeighbour,
    Side,
    Sysctl,
    VethPair,
)
from neutron_cni.plugins import forwarding, source_routes
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.plugins.refusals import require_usable
from neutron_cni.plugins.veth_pair import GATEWAY_MAC, metric_of, pair
from neutron_cni.plugins.veth_route_config import GATEWAY_V6
from neutron_cni.plugins.veth_route_config import Config as Config
from neutron_cni.plugins.ways import Way, Wish, by_source_in_pod, ways
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, IPConfig, Result, Route

PART = "veth-route"


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    return Asks(config.host_interface, dummy_name=config.dummy_name)


def refuse(config: Config, facts: HostFacts) -> None:
    """See `Page.refuse`. A node can always have veths."""


def remarks(config: Config, facts: HostFacts) -> list[str]:
    """See `Page.remarks`. The node has the IP versions of its uplink's addresses, or IPv4."""
    found = {item.version for item in facts.uplink.addresses} if facts.uplink else set()
    versions = found or {4}
    return [
        *forwarding.notes(facts),
        *forwarding.troubles(facts, versions, host_forwarding=config.host_forwarding),
        *forwarding.firewall_notes(facts, versions),
    ]


def shared(config: Config) -> tuple[PacketRules, ...]:
    """See `Page.shared`. There are none."""
    return ()


def answers(config: Config, lease: Lease, facts: HostFacts) -> tuple[ProxyNeighbour, ...]:
    """See `Page.answers`. The pod shares no link with those who ask."""
    return forwarding.proxies(lease, facts.uplink)


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`.

    Raises CniError CONFLICT if the node itself has a leased address: the kernel looks in the
    local table first, so the host route would have no effect and the pod would get no packet.
    Raises CniError INVALID_CONFIG if the MTU or the node can't carry a leased IPv6 address.
    """
    attachment, lease, facts, config = call.attachment, call.lease, call.facts, call.config
    veth = pair(call.network, attachment, PART, _mtu(call), call.mac)
    versions = {item.address.version for item in lease.addresses}
    require_usable(lease, facts, veth.mtu)
    if 4 in versions:
        _refuse_real_gateway(config.gateway(4), lease, facts)
    found = _ways(call)
    routes, neighbours = _pod_side(attachment, found)
    by_source = by_source_in_pod(attachment.ifname, found, lease, call.inside)
    has_gateway_link = facts.dummy and 4 in versions
    node_addresses = _gateway_addresses(veth, config, versions, has_gateway_link)
    proxies = answers(config, lease, facts)
    return Plan(
        links=(veth, Dummy(config.dummy_name)) if has_gateway_link else (veth,),
        addresses=(*node_addresses, *_pod_addresses(attachment, lease)),
        routes=(
            *(_host_route(veth, ip) for ip in _ips(lease)),
            *source_routes.routes(lease, facts.uplink),
            *routes,
            *by_source.routes,
        ),
        rules=(*source_routes.rules(lease, facts.uplink), *by_source.rules),
        paths=tuple(source_routes.paths(lease, facts.uplink, veth.host_name)),
        neighbours=(
            *(_pod_as_neighbour(veth, ip) for ip in _ips(lease)),
            *neighbours,
        ),
        proxies=proxies,
        sysctls=(
            *forwarding.veth_sysctls(veth.host_name, versions, facts),
            *forwarding.uplink_sysctls(
                facts, versions, proxies, host_forwarding=config.host_forwarding
            ),
            *(forwarding.host_sysctls(versions) if config.host_forwarding else ()),
            *_pod_sysctls(attachment.ifname, versions),
        ),
        announcements=forwarding.announcements(proxies),
        notes=(
            *_notes(facts, config, versions),
            *source_routes.notes(lease, facts.uplink),
            *forwarding.firewall_notes(facts, versions),
        ),
        troubles=tuple(
            forwarding.troubles(facts, versions, host_forwarding=config.host_forwarding)
        ),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. Without the lease the plan names the veth only; `undo` then finds the
    proxy entries and the rules by the veth's host routes."""
    veth = pair(gone.network, gone.attachment, PART, None, gone.mac)
    if gone.lease is None:
        return Plan(links=(veth,))
    return Plan(
        links=(veth,),
        routes=tuple(_host_route(veth, ip) for ip in _ips(gone.lease)),
        rules=tuple(source_routes.leftovers(gone.lease)),
        proxies=forwarding.proxies(gone.lease, gone.facts.uplink if gone.facts else None),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: both ends of the veth, the addresses, and the pod's routes.

    The addresses are single hosts (/32, /128), as no other host is on the pod's link. Chained
    plugins read it so: upstream's portmap masquerades what comes to a host port from the address's
    network, and would hide the clients that are in the pod's subnet.
    """
    attachment, lease, config = call.attachment, call.lease, call.config
    veth = pair(call.network, attachment, PART, _mtu(call), call.mac)
    return Result(
        interfaces=(
            Interface(veth.host_name, veth.host_mac, veth.mtu),
            Interface(veth.pod_name, veth.pod_mac, veth.mtu, attachment.netns),
        ),
        ips=tuple(
            IPConfig(ip_interface(ip), config.gateway(ip.version), interface=1)
            for ip in _ips(lease)
        ),
        routes=tuple(
            Route(destination, way.gateway)
            for way in _ways(call)
            for destination in way.destinations
        ),
        dns=lease.dns,
    )


def _mtu(call: Call[Config]) -> int | None:
    """The configured MTU, else the smaller of the Neutron network's and the uplink's, in bytes."""
    uplink = call.facts.uplink
    known = [call.lease.mtu, uplink.mtu if uplink else None]
    return call.config.mtu or min((mtu for mtu in known if mtu), default=None)


def _refuse_real_gateway(gateway: IPAddress, lease: Lease, facts: HostFacts) -> None:
    """The pods' gateway becomes an address of the node: it must be nobody's on the network."""
    on_nic = facts.uplink.onlink if facts.uplink else ()
    subnets = [*on_nic, *(item.address.network for item in lease.addresses)]
    if any(gateway in subnet for subnet in subnets):
        raise CniError(
            Code.INVALID_CONFIG,
            f"gatewayAddress {gateway} is in a subnet of the Neutron network",
            "leave it out, or take a link-local address that nothing else uses",
        )


def _ways(call: Call[Config]) -> list[Way]:
    config = call.config
    versions = {item.address.version for item in call.lease.addresses}
    wish = Wish(
        gateways={version: config.gateway(version) for version in versions},
        default_route=config.default_route,
        networks=tuple(ip_network(item.dst) for item in config.routes),
        metric=metric_of(call.attachment),
    )
    return ways(wish, call.lease, call.inside)


def _pod_addresses(attachment: Attachment, lease: Lease) -> list[LinkAddress]:
    """The pod's addresses. Each keeps its subnet's prefix length, as programs read it, but gets no
    route to the subnet, as no host of the subnet answers ARP on this wire."""
    link = attachment.ifname
    return [
        LinkAddress(Side.POD, link, item.address, prefix_route=False) for item in lease.addresses
    ]


def _pod_side(attachment: Attachment, found: list[Way]) -> tuple[list[LinkRoute], list[Neighbour]]:
    """The pod's routes and neighbours. All goes to the node, by the gateway.

    The gateway is a permanent neighbour, whether a link of the node has its address or not, so no
    ARP is needed. If the entry is lost (the kernel drops it when the link goes down or gets
    another MAC), the pod asks, and the node answers.
    """
    link = attachment.ifname
    routes: list[LinkRoute] = []
    for way in found:
        to_gateway = ip_network(way.gateway)
        routes.append(LinkRoute(Side.POD, link, to_gateway, scope="link", metric=way.metric))
        routes += [
            LinkRoute(Side.POD, link, destination, gateway=way.gateway, metric=way.metric)
            for destination in way.destinations
        ]
    return routes, [Neighbour(Side.POD, link, way.gateway, GATEWAY_MAC) for way in found]


def _pod_as_neighbour(veth: VethPair, address: IPAddress) -> Neighbour:
    """The pod as the node's neighbour. Not permanent, as plugins after this one, such as upstream's
    tuning, may give the pod another MAC; the pod then announces it (`_pod_sysctls`)."""
    return Neighbour(Side.HOST, veth.host_name, address, veth.pod_mac, permanent=False)


def _gateway_addresses(
    veth: VethPair, config: Config, versions: AbstractSet[int], has_gateway_link: bool
) -> list[LinkAddress]:
    """The gateway addresses as addresses of the node, so that pods can also ping and trace them.

    fe80::1 can be on every veth, since a link-local address counts on its own link only.
    """
    addresses = []
    if has_gateway_link:
        gateway = ip_interface(config.gateway_address)
        addresses.append(LinkAddress(Side.HOST, config.dummy_name, gateway))
    if 6 in versions:
        addresses.append(LinkAddress(Side.HOST, veth.host_name, ip_interface(GATEWAY_V6)))
    return addresses


def _pod_sysctls(link: str, versions: AbstractSet[int]) -> list[Sysctl]:
    """Sysctls of the pod's link `link`; `versions` are the pod's IP versions.

    Without an IPv6 address the link has no IPv6 at all: it sends nothing from a link-local
    address, and resolvers that ask for AAAA records only where IPv6 is configured do not ask.
    With one, IPv6 is switched on (container runtimes often switch it off by default), and the
    link neither waits for duplicate address detection nor listens to router advertisements: all
    that they would tell is in the lease. Its addresses outlive the link's going down, as IPv4's do.
    A link that gets another MAC tells its neighbours (arp_notify, ndisc_notify).
    """
    v4 = f"net/ipv4/conf/{link}"
    settings = [Sysctl(Side.POD, f"{v4}/arp_notify", "1", checked=False)] if 4 in versions else []
    v6 = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.POD, f"{v6}/disable_ipv6", "1", required=False)]
    for key in ("ndisc_notify", "keep_addr_on_down"):
        settings.append(Sysctl(Side.POD, f"{v6}/{key}", "1", checked=False))
    values = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    return settings + [Sysctl(Side.POD, f"{v6}/{key}", value) for key, value in values.items()]


def _notes(facts: HostFacts, config: Config, versions: AbstractSet[int]) -> list[str]:
    notes = forwarding.notes(facts)
    if 4 in versions and not facts.dummy:
        notes.append(
            f"this kernel has no dummy device: no link has {config.gateway_address}, so pods can't "
            "ping it"
        )
    return notes


def _host_route(veth: VethPair, address: IPAddress) -> LinkRoute:
    # Global scope, so that `ip route` shows just "10.10.10.19 dev veth...".
    return LinkRoute(Side.HOST, veth.host_name, ip_network(address), scope="global")


def _ips(lease: Lease) -> list[IPAddress]:
    return [item.address.ip for item in lease.addresses]

"""veth-host: the pod's second leg, to its node.

A pod whose main interface bypasses the node (ipvlan, macvlan, a NIC of its own) reaches by this
veth what only its node can give: services, whose translations are rules of the node; the node's own
addresses, as an ipvlan child never reaches its parent; and what the node serves by link-local
addresses. The node reaches the pod by it as well, for the kubelet's probes and for node ports.

    pod    10.96.0.0/12 via 169.254.1.1 dev veth0 src POD     (and the same for each other network)
    node   POD dev vethh0123456789

What comes in new by veth0 is answered by it: else the answer to a client of a node port, or of a
service whose backend is on the client's own node, would pass the node's translation by. And what a
pod sends by veth0 and the node sends on leaves with the node's address: else the answer would go to
the pod's main interface, past the translation. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from hashlib import sha256
from ipaddress import IPv4Address, ip_interface, ip_network

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import (
    LinkAddress,
    LinkRoute,
    Neighbour,
    NodeSource,
    PacketRules,
    Plan,
    ProxyNeighbour,
    ReturnMark,
    Rule,
    Side,
    Sysctl,
    VethPair,
)
from neutron_cni.plugins import forwarding, ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.plugins.host_stack import changing, destinations, require_apart
from neutron_cni.plugins.refusals import require_usable
from neutron_cni.plugins.second_leg import PART as PART
from neutron_cni.plugins.second_leg import is_anothers, is_further
from neutron_cni.plugins.veth_host_config import Config as Config
from neutron_cni.plugins.veth_pair import GATEWAY_MAC
from neutron_cni.plugins.veth_route_config import GATEWAY_V6
from neutron_cni.values.address import IPAddress, IPNetwork, anywhere
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, Result

GATEWAY_V4 = IPv4Address("169.254.1.1")
"""The next hop of every pod's veth0, which only a permanent neighbour entry answers for."""
_OWN_V4 = ip_interface("169.254.1.2/32")
"""veth0's own IPv4 address: what rules of the pod redirect to it (REDIRECT) needs one to go to."""
HOST_PREFIX = "vethh"
"""What the names of the node's ends begin with. "h" is no hex digit, so none of veth-route's does;
rules for "veth*", as operators and kube-proxy have them, are for these as well."""
RETURN_TABLE = 110
"""The routing table in the pod for what is answered by veth0."""
RETURN_PRIORITY = 1090
"""The priority of its rule: before those that go by the source address."""
RETURN_MARK = 0x20000000
"""The bit in the pod. Istio marks with 1337, and compares all bits only of its own packets."""
NODE_MARK = 0x1000
"""The bit on the node: kube-proxy has 0x4000 and 0x8000, Cilium 0xf00, Calico 0xffff0000."""


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    return Asks(config.host_interface, addresses=True)


def refuse(config: Config, facts: HostFacts) -> None:
    """See `Page.refuse`. Raises CniError INVALID_CONFIG if services can't be told from the rest."""
    if not config.service_cidrs:
        raise CniError(
            Code.INVALID_CONFIG,
            "serviceCIDRs is missing: veth-host does not know what pods must reach by their node",
            'such as ["10.96.0.0/12"]; `neutron-cni install --kubeconfig` reads them',
        )
    uplink = facts.uplink
    if uplink is not None:
        require_apart(config, uplink.onlink, "a subnet on the node's NIC")
        own = (ip_network(item.ip) for item in uplink.addresses)
        require_apart(config, own, "the node's own address")


def remarks(config: Config, facts: HostFacts) -> list[str]:
    """See `Page.remarks`. The node has the IP versions of its uplink's addresses, or IPv4."""
    found = {item.version for item in facts.uplink.addresses} if facts.uplink else set()
    versions = found or {4}
    return [
        *forwarding.troubles(facts, versions, host_forwarding=config.host_forwarding),
        *forwarding.firewall_notes(facts, versions),
    ]


def shared(config: Config) -> tuple[PacketRules, ...]:
    """See `Page.shared`: those that `plan` has."""
    return _node_filters({4, 6})


def _node_filters(versions: AbstractSet[int]) -> tuple[PacketRules, ...]:
    return tuple(NodeSource(version, HOST_PREFIX, NODE_MARK) for version in sorted(versions))


def answers(config: Config, lease: Lease, facts: HostFacts) -> tuple[ProxyNeighbour, ...]:
    """See `Page.answers`. There are none: the pod answers by its other link."""
    return ()


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`.

    It is empty for a further network of a pod: what this interface is for goes by the first's.
    Raises CniError INVALID_CONFIG or CONFLICT if the pod could not work.
    """
    config, facts, lease = call.config, call.facts, call.lease
    if _is_further(call):
        return Plan()
    refuse(config, facts)
    if config.veth_name == call.attachment.ifname:
        raise CniError(
            Code.INVALID_CONFIG,
            f"vethName is {config.veth_name}, the name of the pod's main interface",
            "leave it out, or take another name",
        )
    for item in lease.addresses:
        if item.address.network.num_addresses > 1:
            require_apart(config, [item.address.network], "the pod's subnet")
        if item.gateway is not None:
            require_apart(config, [ip_network(item.gateway)], "the pod's gateway")
    veth = _pair(call.network, call.attachment, config.veth_name, _mtu(facts))
    require_usable(lease, facts, veth.mtu)
    sources: dict[int, IPAddress] = {}
    for item in lease.addresses:
        sources.setdefault(item.address.version, item.address.ip)
    versions = set(sources)
    ips = [item.address.ip for item in lease.addresses]
    troubles = forwarding.troubles(facts, versions, host_forwarding=config.host_forwarding)
    return Plan(
        links=(veth,),
        addresses=_addresses(veth, versions),
        routes=(
            *(LinkRoute(Side.HOST, veth.host_name, ip_network(ip)) for ip in ips),
            *_pod_routes(veth, sources, destinations(config, facts), changing(facts)),
        ),
        rules=tuple(_rule(version) for version in sorted(versions)),
        neighbours=(
            *(Neighbour(Side.HOST, veth.host_name, ip, veth.pod_mac) for ip in ips),
            *(
                Neighbour(Side.POD, veth.pod_name, _gateway(version), GATEWAY_MAC)
                for version in sorted(versions)
            ),
        ),
        sysctls=(
            *_node_sysctls(veth.host_name, versions, facts),
            *forwarding.uplink_sysctls(facts, versions, (), host_forwarding=config.host_forwarding),
            *(forwarding.host_sysctls(versions) if config.host_forwarding else ()),
            *_pod_sysctls(veth.pod_name, call.attachment.ifname, versions),
        ),
        filters=(
            *(ReturnMark(version, veth.pod_name, RETURN_MARK) for version in sorted(versions)),
            *_node_filters(versions),
        ),
        notes=tuple(forwarding.firewall_notes(facts, versions)),
        troubles=tuple(troubles),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. Routes and neighbours go with the link, on both sides.

    Of a further network there are none.
    """
    config = gone.config or Config()
    if gone.inside is not None and is_anothers(gone.attachment, gone.inside):
        return Plan()
    veth = _pair(gone.network, gone.attachment, config.veth_name, None)
    return Plan(
        links=(veth,),
        rules=tuple(_rule(version) for version in (4, 6)),
        filters=tuple(ReturnMark(version, veth.pod_name, RETURN_MARK) for version in (4, 6)),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: what was before, and both ends of the veth."""
    if _is_further(call):
        return call.before
    veth = _pair(call.network, call.attachment, call.config.veth_name, _mtu(call.facts))
    return replace(
        call.before,
        interfaces=(
            *call.before.interfaces,
            Interface(veth.host_name, veth.host_mac, veth.mtu),
            Interface(veth.pod_name, veth.pod_mac, veth.mtu, call.attachment.netns),
        ),
    )


def _is_further(call: Call[Config]) -> bool:
    """At CHECK the answer of ADD tells, as what the pod has now does not."""
    if call.inside.answered:
        return call.config.veth_name not in call.inside.answered
    versions = {item.address.version for item in call.lease.addresses}
    return is_further(call.attachment, call.inside, versions)


def _pair(network: str, attachment: Attachment, name: str, mtu: int | None) -> VethPair:
    digest = sha256(f"{attachment.container_id}/{attachment.ifname}/{PART}".encode()).digest()
    # Bit 1 of the first byte is "locally administered", bit 0 "multicast".
    mac = bytes([digest[8] & 0xFC | 0x02, *digest[9:14]]).hex(":")
    return VethPair(
        host_name=f"{HOST_PREFIX}{digest.hex()[:10]}",
        pod_name=name,
        host_mac=GATEWAY_MAC,
        pod_mac=mac,
        alias=ownership.alias(network, attachment, PART),
        mtu=mtu,
    )


def _mtu(facts: HostFacts) -> int | None:
    return facts.uplink.mtu if facts.uplink else None


def _gateway(version: int) -> IPAddress:
    return GATEWAY_V4 if version == 4 else GATEWAY_V6


def _addresses(veth: VethPair, versions: set[int]) -> tuple[LinkAddress, ...]:
    own = (LinkAddress(Side.POD, veth.pod_name, _OWN_V4),) if 4 in versions else ()
    # fe80::1 can be on every veth, since a link-local address counts on its own link only.
    gateway = LinkAddress(Side.HOST, veth.host_name, ip_interface(GATEWAY_V6))
    return (*own, gateway) if 6 in versions else own


def _pod_routes(
    veth: VethPair,
    sources: dict[int, IPAddress],
    wanted: list[IPNetwork],
    unchecked: set[IPNetwork],
) -> list[LinkRoute]:
    name = veth.pod_name
    found = []
    for version, source in sorted(sources.items()):
        gateway = _gateway(version)
        found.append(LinkRoute(Side.POD, name, ip_network(gateway), scope="link"))
        found += [
            LinkRoute(
                Side.POD,
                name,
                item,
                gateway=gateway,
                source=source,
                checked=item not in unchecked,
            )
            for item in wanted
            if item.version == version
        ]
        found.append(
            LinkRoute(Side.POD, name, anywhere(version), gateway=gateway, table=RETURN_TABLE)
        )
    return found


def _rule(version: int) -> Rule:
    return Rule(Side.POD, version, RETURN_PRIORITY, RETURN_TABLE, mark=RETURN_MARK)


def _node_sysctls(link: str, versions: set[int], facts: HostFacts) -> list[Sysctl]:
    """As veth-route's, but the node answers no ARP there for others: the pod has a permanent entry
    for all that it may send by this link."""
    proxy = f"net/ipv4/conf/{link}/proxy_arp"
    usual = forwarding.veth_sysctls(link, versions, facts)
    kept = [item for item in usual if item.key != proxy and "proxy_delay" not in item.key]
    return [*kept, Sysctl(Side.HOST, proxy, "0")]


def _pod_sysctls(veth: str, main: str, versions: set[int]) -> list[Sysctl]:
    """rp_filter=2: what comes in by the one link may have its way back by the other, as clients of
    node ports do. The larger of this and conf/all counts, so a strict node makes no difference.
    arp_ignore=1: the main interface does not answer for the second leg's address.
    """
    settings = [
        Sysctl(Side.POD, f"net/ipv4/conf/{link}/rp_filter", "2")
        for link in (veth, main)
        if 4 in versions
    ]
    settings.append(Sysctl(Side.POD, f"net/ipv4/conf/{main}/arp_ignore", "1"))
    v6 = f"net/ipv6/conf/{veth}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.POD, f"{v6}/disable_ipv6", "1", required=False)]
    settings.append(Sysctl(Side.POD, f"{v6}/keep_addr_on_down", "1", checked=False))
    values = {"accept_dad": "0", "accept_ra": "0", "disable_ipv6": "0"}
    return settings + [Sysctl(Side.POD, f"{v6}/{key}", value) for key, value in values.items()]

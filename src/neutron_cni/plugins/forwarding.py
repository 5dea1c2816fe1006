"""What makes a node forward for pods behind veths, with sysctls of single links only.

Forwarding for the whole node would make a router of every NIC, so it is switched on only on
request (`host_sysctls`). The kernel decides by the link that a packet comes in by: the pod's veth
for what the pod sends, the uplink for what the pod gets. Source for all sysctls: the kernel's
Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.plan import Announcement, ProxyNeighbour, Side, Sysctl
from neutron_cni.values.lease import Lease


def veth_sysctls(link: str, versions: AbstractSet[int], facts: HostFacts) -> list[Sysctl]:
    """Sysctls of the node's end of a pod's veth; `versions` are the pod's IP versions (4, 6).

    rp_filter=1: the kernel accepts a packet from the pod only if the route back to its source
    goes by this veth. The host routes make that true for the pod's own addresses and nothing
    else, so no pod can send from another's address. Loose filtering (2, which systemd and conf/all
    may make of it) does the same here, as this end has no IPv4 address (kernel:
    __fib_validate_source). IPv6 has no such filter.
    proxy_arp: the node answers when a pod asks for its gateway, which it does only if it has lost
    its permanent neighbour entry; without a dummy device no link has the gateway's address. By
    default the kernel would delay the answer by up to 0.8 s. Pods that an earlier version made
    have neither setting.
    """
    v4 = f"net/ipv4/conf/{link}"
    settings = [
        Sysctl(Side.HOST, f"{v4}/forwarding", "1"),
        Sysctl(Side.HOST, f"{v4}/rp_filter", "1", as_good=("2",)),
        Sysctl(Side.HOST, f"{v4}/accept_redirects", "0"),
        Sysctl(Side.HOST, f"{v4}/proxy_arp", "1", checked=False),
        Sysctl(Side.HOST, f"net/ipv4/neigh/{link}/proxy_delay", "0", checked=False),
    ]
    v6 = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.HOST, f"{v6}/disable_ipv6", "1", required=False)]
    # Not `forwarding`: it does not make the kernel forward IPv6 (`conf/all` or force_forwarding
    # does). Setting it for one more link, at every ADD, would delete the default routes that
    # other links have from router advertisements (rt6_purge_dflt_routers).
    values = {"accept_dad": "0", "accept_ra": "0", "accept_redirects": "0"}
    if facts.force_forwarding:
        values["force_forwarding"] = "1"
    values["disable_ipv6"] = "0"
    return settings + [Sysctl(Side.HOST, f"{v6}/{key}", value) for key, value in values.items()]


def uplink_sysctls(
    facts: HostFacts,
    versions: AbstractSet[int],
    proxies: Sequence[ProxyNeighbour],
    *,
    host_forwarding: bool,
) -> list[Sysctl]:
    """Sysctls of the uplink: forward what comes in by it, and answer for the pods without delay.

    A link needs IPv6 `forwarding` only to answer for pods, as the kernel does proxy ND on routers
    only. A link with `forwarding` also takes the subnet-router anycast address.
    """
    if facts.uplink is None:
        return []
    link = facts.uplink.name
    proxied = {item.address.version for item in proxies}
    settings = []
    if 4 in versions:
        settings.append(Sysctl(Side.HOST, f"net/ipv4/conf/{link}/forwarding", "1"))
    if 4 in proxied:
        # By default the kernel delays proxy answers by up to 0.8 s, to let the owner answer first.
        settings.append(Sysctl(Side.HOST, f"net/ipv4/neigh/{link}/proxy_delay", "0"))
    v6 = f"net/ipv6/conf/{link}"
    becomes_router = 6 in versions and (6 in proxied or host_forwarding)
    if becomes_router and not facts.ipv6_forwarding and facts.uplink.accept_ra in (1, 2):
        # A router ignores router advertisements unless accept_ra is 2, and a link that becomes
        # a router loses the default route that it has from them. So accept_ra is written first.
        settings.append(Sysctl(Side.HOST, f"{v6}/accept_ra", "2"))
    if 6 in proxied:
        settings.append(Sysctl(Side.HOST, f"{v6}/forwarding", "1"))
        settings.append(Sysctl(Side.HOST, f"{v6}/proxy_ndp", "1"))
        settings.append(Sysctl(Side.HOST, f"net/ipv6/neigh/{link}/proxy_delay", "0"))
    if 6 in versions and facts.force_forwarding:
        settings.append(Sysctl(Side.HOST, f"{v6}/force_forwarding", "1"))
    return settings


def host_sysctls(versions: AbstractSet[int]) -> list[Sysctl]:
    """Sysctls that switch forwarding on for the whole node: only if the operator asks for it."""
    keys = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
    return [Sysctl(Side.HOST, keys[version], "1") for version in sorted(versions)]


def proxies(lease: Lease, uplink: Uplink | None) -> tuple[ProxyNeighbour, ...]:
    """Entries by which the node answers ARP and ND for pod addresses on the uplink.

    An address of Neutron's is on the uplink's network, whether the node has an address in its
    subnet or not: whoever has one there, the router first of all, takes it for a neighbour's and
    asks for it on the link. ML2/OVN answers itself; with ML2/OVS nobody does but the VM. Another
    IPAM's address is asked for where it is in a subnet of the uplink's; others are routed. So are
    those of another NIC's port, where that NIC is gone and the uplink stands in for it.
    """
    if uplink is None:
        return ()
    carries = bool(lease.port_id) and lease.nic_mac in ("", uplink.mac)
    return tuple(
        ProxyNeighbour(Side.HOST, uplink.name, item.address.ip)
        for item in lease.addresses
        if carries or any(item.address.ip in subnet for subnet in uplink.onlink)
    )


def announcements(proxies: Sequence[ProxyNeighbour]) -> tuple[Announcement, ...]:
    """What tells the neighbours of a NIC that the addresses which it answers for are here now."""
    return tuple(Announcement(item.side, item.link, item.address) for item in proxies)


def notes(facts: HostFacts) -> list[str]:
    """Sentences for the operator about what works less well than it could, or not at all."""
    found = []
    if facts.uplink is None:
        found.append(
            "the node has no default route and hostInterface is not set: pods reach this node "
            "and its pods only"
        )
    return found


def troubles(facts: HostFacts, versions: AbstractSet[int], *, host_forwarding: bool) -> list[str]:
    """Sentences that say why pods of these IP versions are cut off, and what to do."""
    forwards = facts.ipv6_forwarding or facts.force_forwarding or host_forwarding
    if 6 not in versions or forwards:
        return []
    return [
        "this kernel forwards IPv6 for the whole node or not at all: set hostForwarding, or "
        "net.ipv6.conf.all.forwarding=1, for the pods' IPv6 to work"
    ]


def firewall_notes(facts: HostFacts, versions: AbstractSet[int]) -> list[str]:
    """Sentences that name the chains which drop pods' packets, unless rules accept them."""
    return [
        f"the node drops forwarded packets that no rule accepts ({item.chain}): pods reach other "
        "nodes only if a rule accepts what comes from and goes to their links (veth*)"
        for item in facts.forward_drops
        if versions & set(item.versions)
    ]

"""What a node needs to forward for pods behind veths, with settings of single links only.

Switching forwarding on for the whole node makes every NIC of it a router; so that is done only
on request (`host_sysctls`). The kernel looks at the link that a packet comes in by: the pod's
veth for what the pod sends, the uplink for what it gets. Source for all settings: the kernel's
Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.plan import Announcement, ProxyNeighbour, Side, Sysctl
from neutron_cni.values.lease import Lease


def veth_sysctls(link: str, versions: AbstractSet[int], facts: HostFacts) -> list[Sysctl]:
    """Settings of the node's end of a pod's veth; `versions` are the pod's IP versions.

    rp_filter=1: a packet from the pod is only taken if the route back to its source is this
    veth, which the host route makes true for the pod's own addresses and nothing else: no pod
    can pretend to be another. Loose filtering (2, which systemd and conf/all may make of it) does
    the same here, as this end has no IPv4 address (kernel: __fib_validate_source). IPv6 has no
    such filter.
    No ARP setting: the entries of both ends are permanent, so nobody asks.
    """
    v4 = f"net/ipv4/conf/{link}"
    settings = [
        Sysctl(Side.HOST, f"{v4}/forwarding", "1"),
        Sysctl(Side.HOST, f"{v4}/rp_filter", "1", as_good=("2",)),
        Sysctl(Side.HOST, f"{v4}/accept_redirects", "0"),
    ]
    v6 = f"net/ipv6/conf/{link}"
    if 6 not in versions:
        return [*settings, Sysctl(Side.HOST, f"{v6}/disable_ipv6", "1", required=False)]
    # Not `forwarding`: it does not make IPv6 forward (`conf/all` or force_forwarding does),
    # and setting it for one more link throws away the default routes that other links have
    # from router advertisements (rt6_purge_dflt_routers), at every ADD.
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
    """Settings of the uplink: forward what comes in by it, and answer for the pods at once.

    A link needs IPv6 `forwarding` only to answer for pods (proxy ND is a router's, by the
    kernel's rules); with it, it also takes the subnet-router anycast address.
    """
    if facts.uplink is None:
        return []
    link = facts.uplink.name
    proxied = {item.address.version for item in proxies}
    settings = []
    if 4 in versions:
        settings.append(Sysctl(Side.HOST, f"net/ipv4/conf/{link}/forwarding", "1"))
    if 4 in proxied:
        # By default proxy answers wait up to 0.8 s, to let the real owner answer first.
        settings.append(Sysctl(Side.HOST, f"net/ipv4/neigh/{link}/proxy_delay", "0"))
    v6 = f"net/ipv6/conf/{link}"
    becomes_router = 6 in versions and (6 in proxied or host_forwarding)
    if becomes_router and not facts.ipv6_forwarding and facts.uplink.accept_ra in (1, 2):
        # A router ignores router advertisements unless this is 2, and loses the default route
        # that it has from them as it becomes one: so first this, then forwarding.
        settings.append(Sysctl(Side.HOST, f"{v6}/accept_ra", "2"))
    if 6 in proxied:
        settings.append(Sysctl(Side.HOST, f"{v6}/forwarding", "1"))
        settings.append(Sysctl(Side.HOST, f"{v6}/proxy_ndp", "1"))
        settings.append(Sysctl(Side.HOST, f"net/ipv6/neigh/{link}/proxy_delay", "0"))
    if 6 in versions and facts.force_forwarding:
        settings.append(Sysctl(Side.HOST, f"{v6}/force_forwarding", "1"))
    return settings


def host_sysctls(versions: AbstractSet[int]) -> list[Sysctl]:
    """Forwarding for the whole node: on request only."""
    keys = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
    return [Sysctl(Side.HOST, keys[version], "1") for version in sorted(versions)]


def proxies(lease: Lease, uplink: Uplink | None) -> tuple[ProxyNeighbour, ...]:
    """The node answers ARP and ND for pod addresses of the uplink's own subnets.

    Hosts there take such an address for a neighbour and ask for it on the link; with an answer
    it needs no route anywhere else.
    """
    if uplink is None:
        return ()
    return tuple(
        ProxyNeighbour(Side.HOST, uplink.name, item.address.ip)
        for item in lease.addresses
        if any(item.address.ip in subnet for subnet in uplink.onlink)
    )


def announcements(lease: Lease, uplink: Uplink | None) -> tuple[Announcement, ...]:
    """If the lease asks for it: tell the uplink's neighbours that the address is here."""
    if uplink is None or not lease.announce:
        return ()
    return tuple(Announcement(Side.HOST, uplink.name, item.address.ip) for item in lease.addresses)


def notes(facts: HostFacts, versions: AbstractSet[int], *, host_forwarding: bool) -> list[str]:
    """What the operator should know: things that work less well than they could, or not."""
    found = []
    if facts.uplink is None:
        found.append(
            "the node has no default route and hostInterface is not set: pods reach this node "
            "and its pods only"
        )
    forwards = facts.ipv6_forwarding or facts.force_forwarding or host_forwarding
    if 6 in versions and not forwards:
        found.append(
            "this kernel forwards IPv6 for the whole node or not at all: set hostForwarding, or "
            "net.ipv6.conf.all.forwarding=1, for the pods' IPv6 to work"
        )
    return found

"""Brings proxy neighbour entries of pods back that the kernel or somebody dropped (STATUS).

The kernel drops all entries of a link that goes down, and those of IPv4 also when the link loses
its last address, as when a DHCP lease ends (neigh_ifdown).
"""

from __future__ import annotations

from collections.abc import Collection

from neutron_cni.netlink import links, neighbours
from neutron_cni.netlink.plan import ProxyNeighbour
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.netlink.undo import is_routed
from neutron_cni.values.address import IPAddress


def restore_proxies(wanted: Collection[ProxyNeighbour]) -> list[IPAddress]:
    """Make those of the node's entries that are missing; returns their addresses.

    Only for addresses that a link of the node has a route to, as `apply` adds that first. It is
    looked for once more after the entry is made: a DEL that came in between has removed the route
    and may have looked for the entry before there was one. Raises CniError KERNEL.
    """
    if not wanted:
        return []
    with Rtnl.here() as host:
        there = set(neighbours.list_proxies(host, {item.address for item in wanted}))
        made = []
        known = {name: links.get(host, name) for name in {item.link for item in wanted}}
        for item in wanted:
            link = known[item.link]
            if link is None or (link.index, item.address) in there:
                continue
            if not is_routed(host, item.address):
                continue
            host.run([neighbours.add_proxy(item, link.index)])
            if is_routed(host, item.address):
                made.append(item.address)
            else:
                host.run([neighbours.delete_proxy(item.address, link.index)])
        return made

"""Veth pairs: one end on the node, one in the pod."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink import links
from neutron_cni.netlink.links import NEWLINK, Link
from neutron_cni.netlink.messages import EXCL_CREATE, new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Side, VethPair
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl
from neutron_cni.values.errors import CniError, Code


def create(wanted: VethPair, host: Rtnl, pod: Callable[[], Rtnl], namespace: Namespace) -> Outcome:
    """See `LinkKind`. One request gives both ends their name, MAC and MTU, and makes the pod's
    end in the pod's namespace. A pair that is made first and moved later would be half-made for a
    while, and the name of its pod end could collide with a link of the node.
    """
    mtu = [("IFLA_MTU", wanted.mtu)] if wanted.mtu is not None else []
    peer = [
        ("IFLA_IFNAME", wanted.pod_name),
        ("IFLA_ADDRESS", wanted.pod_mac),
        *mtu,
        ("IFLA_NET_NS_FD", namespace.descriptor),
    ]
    data = {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]}
    attributes = [
        ("IFLA_IFNAME", wanted.host_name),
        ("IFLA_ADDRESS", wanted.host_mac),
        *mtu,
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}),
    ]
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=attributes)
    ends = f"{wanted.host_name} (node) - {wanted.pod_name} (pod)"
    (outcome,) = host.attempt([Request(message, f"create the veth pair {ends}")])
    return outcome


def made_before(wanted: VethPair, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """See `LinkKind`. True if both ends are there, and are the ends of one pair."""
    ours = links.get(host, wanted.host_name)
    theirs = links.get(pod, wanted.pod_name)
    if ours is None and theirs is None:
        return False
    if ours is not None and not is_host_end(ours, wanted):
        raise CniError(
            Code.CONFLICT,
            f"the node has a link {wanted.host_name} that is not this container's"
            f" (alias {ours.alias!r}, MAC {ours.mac})",
        )
    if ours is None and theirs is not None:
        raise links.name_taken(theirs, netns)
    if ours is None or theirs is None or not _are_ends(ours, theirs):
        raise CniError(
            Code.CONFLICT,
            f"the link {wanted.host_name} of this container leads to another namespace"
            f" than {netns}",
            "DEL the attachment first",
        )
    return True


def bring_up(wanted: VethPair, side: Side, index: int) -> Request:
    """See `LinkKind`. The node's end also gets its alias."""
    alias = wanted.alias if side is Side.HOST else None
    return links.set_up(index, wanted.name_on(side), alias, wanted.mtu)


def to_delete(wanted: VethPair, host: Rtnl) -> Link | None:
    """See `LinkKind`. The node's end: the kernel deletes the pod's end with it."""
    link = links.get(host, wanted.host_name)
    return link if link is not None and is_host_end(link, wanted) else None


def clear_pod(wanted: VethPair, pod: Rtnl) -> None:
    """See `LinkKind`. The node's end has been renamed, so the pod's end is deleted instead."""
    link = links.get(pod, wanted.pod_name)
    if link is not None and link.kind == "veth" and link.mac == wanted.pod_mac:
        pod.run([links.delete(link.index, link.name)])


def put_back(wanted: VethPair, host: Rtnl) -> None:
    """See `LinkKind`. A pair was nowhere before."""


def differences(wanted: VethPair, side: Side, found: Link) -> Iterator[str]:
    """See `LinkKind`."""
    mac = wanted.host_mac if side is Side.HOST else wanted.pod_mac
    if found.mac != mac:
        yield f"{side}: the link {found.name} has the MAC {found.mac}, not {mac}"
    # A later plugin of the chain may have made the pod's MTU smaller, and may not have said so.
    smaller = side is Side.POD and found.mtu < (wanted.mtu or 0)
    if wanted.mtu is not None and found.mtu != wanted.mtu and not smaller:
        yield f"{side}: the link {found.name} has the MTU {found.mtu}, not {wanted.mtu}"
    if side is Side.HOST and found.alias not in (wanted.alias, *wanted.earlier_aliases):
        yield f"{side}: the link {found.name} has the alias {found.alias!r}, not {wanted.alias!r}"


def is_host_end(link: Link, wanted: VethPair) -> bool:
    """Whether `link`, which has the name of the host end, is the host end of `wanted`.

    Its alias tells. A link without an alias counts if its kind and MAC are right: a pair gets its
    MAC when it is made and its alias one request later, and a crash may come in between.
    """
    if link.alias:
        return link.alias in (wanted.alias, *wanted.earlier_aliases)
    return link.kind == "veth" and link.mac == wanted.host_mac


def _are_ends(ours: Link, theirs: Link) -> bool:
    """Whether these are ends of one pair: each is the other's peer.

    The pod's MAC does not tell: a plugin after ours may have given it another.
    """
    return theirs.peer == ours.index and ours.peer == theirs.index

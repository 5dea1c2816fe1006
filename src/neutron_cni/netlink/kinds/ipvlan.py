"""ipvlan links: a child of a NIC of the node, in the pod; the node has no end of it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink import links
from neutron_cni.netlink.links import NEWLINK, Link
from neutron_cni.netlink.messages import EXCL_CREATE, new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Ipvlan, IpvlanMode, Side
from neutron_cni.netlink.rtnl import Request, Rtnl
from neutron_cni.values.errors import CniError, Code

_MODES = {IpvlanMode.L2: 0, IpvlanMode.L3: 1, IpvlanMode.L3S: 2}
"""enum ipvlan_mode (include/uapi/linux/if_link.h)."""

_WHY = {
    errno.EBUSY: "the parent is a bridge port, or has macvlan children: it can't have both",
    errno.EOPNOTSUPP: "the kernel has no ipvlan: load the module, or take another plugin",
    errno.EINVAL: "the MTU is above the parent's, or the parent is no Ethernet link",
}
"""What the kernel does not say by itself (drivers/net/ipvlan/ipvlan_main.c)."""


def create(wanted: Ipvlan, pod: Namespace) -> Request:
    """See `LinkKind`. The link is made in the pod's namespace, by its final name.

    All children of a parent have one mode: the kernel changes that of the others along.
    """
    try:
        parent = socket.if_nametoindex(wanted.parent)
    except OSError as error:
        raise CniError(Code.KERNEL, f"the node has no link {wanted.parent}") from error
    data = {"attrs": [("IFLA_IPVLAN_MODE", _MODES[wanted.mode])]}
    mtu = [("IFLA_MTU", wanted.mtu)] if wanted.mtu is not None else []
    attributes = [
        ("IFLA_IFNAME", wanted.pod_name),
        ("IFLA_LINK", parent),
        *mtu,
        ("IFLA_NET_NS_FD", pod.descriptor),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "ipvlan"), ("IFLA_INFO_DATA", data)]}),
    ]
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=attributes)
    doing = f"create {wanted.pod_name} (pod) as an ipvlan child of {wanted.parent} (node)"
    return Request(message, doing, hints=_WHY)


def made_before(wanted: Ipvlan, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """See `LinkKind`."""
    link = links.get(pod, wanted.pod_name)
    if link is None:
        return False
    if not _is_ours(link, wanted):
        raise CniError(
            Code.CONFLICT,
            f"the pod's namespace {netns} already has an interface {wanted.pod_name}"
            f" (MAC {link.mac})",
            "DEL the attachment that made it first, or use another CNI_IFNAME",
        )
    return True


def bring_up(wanted: Ipvlan, side: Side, index: int) -> Request:
    """See `LinkKind`. The link gets its alias, too."""
    return links.set_up(index, wanted.pod_name, wanted.alias, wanted.mtu)


def to_delete(wanted: Ipvlan, host: Rtnl) -> Link | None:
    """See `LinkKind`. None, as the node has no end of it: see `clear_pod`."""
    return None


def clear_pod(wanted: Ipvlan, pod: Rtnl) -> None:
    """See `LinkKind`."""
    link = links.get(pod, wanted.pod_name)
    if link is not None and _is_ours(link, wanted):
        pod.run([links.delete(link.index, link.name)])


def differences(wanted: Ipvlan, side: Side, found: Link) -> Iterator[str]:
    """See `LinkKind`. The MAC follows the parent's."""
    if found.kind != "ipvlan":
        yield f"{side}: the link {found.name} is a {found.kind or 'NIC'}, not an ipvlan"
    # A later plugin of the chain may have made the MTU smaller, and may not have said so.
    if wanted.mtu is not None and found.mtu > wanted.mtu:
        yield f"{side}: the link {found.name} has the MTU {found.mtu}, not {wanted.mtu}"
    if found.alias != wanted.alias:
        yield f"{side}: the link {found.name} has the alias {found.alias!r}, not {wanted.alias!r}"


def _is_ours(link: Link, wanted: Ipvlan) -> bool:
    """Whether the alias says so. A link that is down and has none is half made: it gets both in
    one request, and a crash may come before that."""
    if link.kind != "ipvlan":
        return False
    return link.alias == wanted.alias or not (link.alias or link.up)

"""ipvlan links: a child of a NIC of the node, in the pod; the node has no end of it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink import links
from neutron_cni.netlink.links import NEWLINK, Link
from neutron_cni.netlink.messages import EXCL_CREATE, EXISTS, new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Ipvlan, IpvlanMode, Side
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl
from neutron_cni.values.errors import CniError, Code

_MODES = {IpvlanMode.L2: 0, IpvlanMode.L3: 1, IpvlanMode.L3S: 2}
"""enum ipvlan_mode (include/uapi/linux/if_link.h)."""

_WHY = {
    errno.EBUSY: "the parent is a bridge port, or has macvlan children: it can't have both",
    errno.EOPNOTSUPP: "the kernel has no ipvlan: load the module, or take another plugin",
    errno.EINVAL: "the MTU is above the parent's, or the parent is no Ethernet link",
}
"""What the kernel does not say by itself (drivers/net/ipvlan/ipvlan_main.c)."""


def create(wanted: Ipvlan, host: Rtnl, pod: Callable[[], Rtnl], namespace: Namespace) -> Outcome:
    """See `LinkKind`. The link is made in the pod's namespace by a name of its own, and then gets
    its final name and its alias in one request.

    By its final name it can't be made: the kernel looks for that name on the node as well, where it
    is usually the parent's; a request from within the pod's namespace makes no difference (6.1).
    All children of a parent have one mode: the kernel changes that of the others along.
    """
    try:
        parent = socket.if_nametoindex(wanted.parent)
    except OSError as error:
        raise CniError(Code.KERNEL, f"the node has no link {wanted.parent}") from error
    data = {"attrs": [("IFLA_IPVLAN_MODE", _MODES[wanted.mode])]}
    mtu = [("IFLA_MTU", wanted.mtu)] if wanted.mtu is not None else []
    attributes = [
        ("IFLA_IFNAME", _first_name(wanted)),
        ("IFLA_LINK", parent),
        *mtu,
        ("IFLA_NET_NS_FD", namespace.descriptor),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "ipvlan"), ("IFLA_INFO_DATA", data)]}),
    ]
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=attributes)
    doing = f"create {wanted.pod_name} (pod) as an ipvlan child of {wanted.parent} (node)"
    # EEXIST: an ADD that was killed made it, and did not come to the next step.
    (made,) = host.attempt([Request(message, doing, EXISTS, _WHY)])
    return _name(wanted, pod(), doing) if made.ok else made


def _name(wanted: Ipvlan, pod: Rtnl, doing: str) -> Outcome:
    """Give the new link its final name and its alias; it goes if the name is taken."""
    link = links.get(pod, _first_name(wanted))
    if link is None:
        raise CniError(Code.KERNEL, f"cannot {doing}: it went at once", "try again")
    attributes = [("IFLA_IFNAME", wanted.pod_name), ("IFLA_IFALIAS", wanted.alias)]
    message = new(ifinfmsg, NEWLINK, index=link.index, attrs=attributes)
    (outcome,) = pod.attempt([Request(message, doing)])
    if not outcome.ok:
        pod.attempt([links.delete(link.index, link.name)])
    return outcome


def _first_name(wanted: Ipvlan) -> str:
    """The name that the link has while it is made: 15 characters, known without any record."""
    return f"ncni{sha256(wanted.alias.encode()).hexdigest()[:11]}"


def made_before(wanted: Ipvlan, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """See `LinkKind`."""
    link = links.get(pod, wanted.pod_name)
    if link is None:
        return False
    if not _is_ours(link, wanted):
        raise links.name_taken(link, netns)
    return True


def bring_up(wanted: Ipvlan, side: Side, index: int) -> Request:
    """See `LinkKind`."""
    return links.set_up(index, wanted.pod_name, mtu=wanted.mtu)


def to_delete(wanted: Ipvlan, host: Rtnl) -> Link | None:
    """See `LinkKind`. None, as the node has no end of it: see `clear_pod`."""
    return None


def clear_pod(wanted: Ipvlan, pod: Rtnl) -> None:
    """See `LinkKind`."""
    final, first = links.get(pod, wanted.pod_name), links.get(pod, _first_name(wanted))
    ours = [link for link in (final, first) if link is not None]
    pod.run([links.delete(x.index, x.name) for x in ours if x is first or _is_ours(x, wanted)])


def put_back(wanted: Ipvlan, host: Rtnl) -> None:
    """See `LinkKind`. A child was nowhere before."""


def differences(wanted: Ipvlan, side: Side, found: Link) -> Iterator[str]:
    """See `LinkKind`. The MAC follows the parent's, and the mode that of the child made last."""
    if found.kind != "ipvlan":
        yield f"{side}: the link {found.name} is a {found.kind or 'NIC'}, not an ipvlan"
    elif found.ipvlan_mode not in (None, _MODES[wanted.mode]):
        has = next((mode for mode, n in _MODES.items() if n == found.ipvlan_mode), "another")
        yield (
            f"{side}: the link {found.name} has the mode {has}, not {wanted.mode}: another network"
            " of this node has given it to all children of the NIC"
        )
    # A later plugin of the chain may have made the MTU smaller, and may not have said so.
    if wanted.mtu is not None and found.mtu > wanted.mtu:
        yield f"{side}: the link {found.name} has the MTU {found.mtu}, not {wanted.mtu}"
    if found.alias != wanted.alias:
        yield f"{side}: the link {found.name} has the alias {found.alias!r}, not {wanted.alias!r}"


def _is_ours(link: Link, wanted: Ipvlan) -> bool:
    """Whether the alias says so: no link has its final name without it."""
    return link.kind == "ipvlan" and link.alias == wanted.alias

"""Whose link is it? The rules by which `apply` adopts, `inspect` answers and `undo` deletes."""

from __future__ import annotations

from neutron_cni.netlink import links
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.plan import Veth
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.errors import CniError, Code


def made_by(link: Link, veth: Veth) -> bool:
    """Whether `link` (of the host end's name) is the host end of `veth`.

    The alias says so. Without an alias it is ours too if kind and MAC are: a pair gets its MAC
    with its creation and its alias one request later, and a crash may lie between.
    """
    if link.alias:
        return link.alias == veth.alias
    return link.kind == "veth" and link.mac == veth.host_mac


def pair_exists(veth: Veth, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """Whether both ends are there, made by an earlier `apply`; CniError CONFLICT if not by one.

    `netns` is the pod's path, for the sentences.
    """
    ours = links.get(host, veth.host_name)
    theirs = links.get(pod, veth.pod_name)
    if ours is None and theirs is None:
        return False
    if ours is not None and not made_by(ours, veth):
        raise CniError(
            Code.CONFLICT,
            f"the node has a link {veth.host_name} that is not this container's"
            f" (alias {ours.alias!r}, MAC {ours.mac})",
        )
    if ours is None and theirs is not None:
        raise CniError(
            Code.CONFLICT,
            f"the pod's namespace {netns} already has an interface {veth.pod_name}"
            f" (MAC {theirs.mac})",
            "DEL the attachment that made it first, or use another CNI_IFNAME",
        )
    if ours is None or theirs is None or not _are_ends(ours, theirs, veth):
        raise CniError(
            Code.CONFLICT,
            f"the link {veth.host_name} of this container leads to another namespace than {netns}",
            "DEL the attachment first",
        )
    return True


def _are_ends(ours: Link, theirs: Link, veth: Veth) -> bool:
    """Whether the two are ends of one pair: each index names the other, and the MAC is right."""
    return theirs.peer == ours.index and ours.peer == theirs.index and theirs.mac == veth.pod_mac

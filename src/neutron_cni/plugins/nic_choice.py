"""Which NIC an attachment gets, and which ones may not be taken from the node. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from neutron_cni.netlink.nics import Nic, Place, Selector
from neutron_cni.plugins import ownership
from neutron_cni.values.errors import CniError, Code

_STACKED = ("bridge", "bond", "team", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap")
"""Kinds of links that are made of a NIC, and may have its MAC."""


def choose(selector: Selector, nics: Sequence[Nic], chance: int = 0) -> Nic:
    """The NIC that the attachment has already, or else one that it may have.

    `nics` are those that `selector` means. `chance`: of several virtual functions, which are all
    alike, it tells which one, so that two pods that start at once need not want the same.
    Raises CniError INVALID_CONFIG (there is none, or the node needs it), CONFLICT (two have the
    MAC), EXHAUSTED (no virtual function is free) and TRY_AGAIN (another pod has it).
    """
    for nic in nics:
        if nic.place is Place.OWN:
            return nic
    here = [nic for nic in nics if nic.place is Place.NODE]
    if selector.functions:
        return _function(selector, here, chance)
    if len(here) > 1:
        here = [nic for nic in here if nic.kind not in _STACKED] or here
    if len(here) > 1:
        raise CniError(
            Code.CONFLICT,
            f"the node has {len(here)} NICs {selector}: {', '.join(nic.name for nic in here)}",
            "name the NIC by device",
        )
    if here:
        _require_free(here[0])
        return here[0]
    if nics:
        raise _taken(nics[0])
    raise CniError(
        Code.INVALID_CONFIG,
        f"the node has no NIC {selector}",
        "`ip link` and `lspci -D` tell which there are; it may not be attached yet",
    )


def _function(selector: Selector, here: list[Nic], chance: int) -> Nic:
    free = [nic for nic in here if not _hindrance(nic)]
    if not free:
        raise CniError(
            Code.EXHAUSTED,
            f"the node has no {selector} that is free",
            "pods have them all, or none was made: "
            "/sys/class/net/NAME/device/sriov_numvfs says how many there are",
        )
    return sorted(free, key=lambda nic: nic.index)[chance % len(free)]


def _require_free(nic: Nic) -> None:
    """Raise CniError INVALID_CONFIG if the node, or others, would lose what they need."""
    hindrance = _hindrance(nic)
    if hindrance:
        raise CniError(
            Code.INVALID_CONFIG,
            f"the NIC {nic.name} {hindrance[0]}, and can't be given to a pod",
            hindrance[1],
        )


def _hindrance(nic: Nic) -> tuple[str, str] | None:
    """Why the NIC can't be given away, and what to do; None if it can."""
    if nic.defaults:
        versions = " and ".join(f"IPv{version}" for version in sorted(nic.defaults))
        return f"has the node's default route ({versions})", "name another NIC"
    if nic.master:
        return f"is a port of {nic.master}", f"ip link set {nic.name} nomaster"
    if nic.children:
        return (
            f"has links upon it ({', '.join(nic.children)})",
            "they would be cut off: remove them first, or name another NIC",
        )
    return None


def _taken(nic: Nic) -> CniError:
    owner = ownership.owner(nic.alias)
    whose = (
        f"{owner.attachment.ifname} of container {owner.attachment.container_id}"
        f" (network {owner.network})"
        if owner is not None
        else nic.alias
    )
    name = nic.before.name
    if nic.kind and nic.memory is None:
        return CniError(
            Code.INVALID_CONFIG,
            f"the link {name} is one that neutron-cni made, for {whose}",
            "name a NIC of the node",
        )
    if not nic.netns:
        return CniError(
            Code.TRY_AGAIN,
            f"the NIC {name} is {whose}, whose namespace is gone",
            "DEL or GC of that network gives it back to the node",
        )
    return CniError(
        Code.TRY_AGAIN,
        f"the NIC {name} is in another pod: it is {whose}, in {nic.netns}",
        "it comes back when that pod goes; a NIC is for one pod at a time",
    )

"""The kinds of links that a plan can ask for: one module of functions each (see `contract`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neutron_cni.netlink.kinds import dummy, ipvlan, moved, veth
from neutron_cni.netlink.plan import Dummy, Ipvlan, MovedLink, VethPair, WantedLink

if TYPE_CHECKING:
    from neutron_cni.netlink.kinds.contract import LinkKind

_KINDS: dict[type[WantedLink], LinkKind[Any]] = {
    VethPair: veth,
    Ipvlan: ipvlan,
    MovedLink: moved,
    Dummy: dummy,
}


def kind_of(wanted: WantedLink) -> LinkKind[Any]:
    """The module that makes, recognises and compares links of the class of `wanted`."""
    return _KINDS[type(wanted)]

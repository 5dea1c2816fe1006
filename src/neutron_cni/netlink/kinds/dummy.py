"""Dummy links: all pods of a node share one; it is made when missing, and never removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink import links
from neutron_cni.netlink.links import NEWLINK, Link
from neutron_cni.netlink.messages import EXCL_CREATE, EXISTS, new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Dummy, Side
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl


def create(wanted: Dummy, host: Rtnl, pod: Callable[[], Rtnl], namespace: Namespace) -> Outcome:
    """See `LinkKind`. The link is made down; one of that name that is there already is fine."""
    info = {"attrs": [("IFLA_INFO_KIND", "dummy")]}
    attributes = [("IFLA_IFNAME", wanted.name), ("IFLA_LINKINFO", info)]
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=attributes)
    (outcome,) = host.attempt([Request(message, f"create the dummy link {wanted.name}", EXISTS)])
    return outcome


def made_before(wanted: Dummy, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """See `LinkKind`. Any link of that name counts, as all pods share it."""
    return links.get(host, wanted.name) is not None


def bring_up(wanted: Dummy, side: Side, index: int) -> Request:
    """See `LinkKind`."""
    return links.set_up(index, wanted.name)


def to_delete(wanted: Dummy, host: Rtnl) -> Link | None:
    """See `LinkKind`. None, as other pods use the link."""
    return None


def clear_pod(wanted: Dummy, pod: Rtnl) -> None:
    """See `LinkKind`. A dummy link has no end in the pod."""


def put_back(wanted: Dummy, host: Rtnl) -> None:
    """See `LinkKind`. A dummy link never leaves the node."""


def differences(wanted: Dummy, side: Side, found: Link) -> Iterator[str]:
    """See `LinkKind`. None, as a dummy link has no settings."""
    yield from ()

"""Links: made, brought up, deleted, looked at."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink.messages import EXCL_CREATE, EXISTS, GONE, new
from neutron_cni.netlink.plan import Dummy, Veth
from neutron_cni.netlink.rtnl import Message, Request, Rtnl

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_IFF_UP = 0x1


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel shows it; `peer` is the index of its other end (veth)."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    alias: str
    kind: str
    peer: int | None


def create_veth(veth: Veth, netns: int) -> Request:
    """Both ends with name, MAC and MTU in one request, the pod's end born in `netns`.

    One request, because a pair that is made first and moved later exists half-made for a while
    and its name can collide on the node.
    """
    mtu = [("IFLA_MTU", veth.mtu)] if veth.mtu is not None else []
    peer = [
        ("IFLA_IFNAME", veth.pod_name),
        ("IFLA_ADDRESS", veth.pod_mac),
        *mtu,
        ("IFLA_NET_NS_FD", netns),
    ]
    data = {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]}
    attributes = [
        ("IFLA_IFNAME", veth.host_name),
        ("IFLA_ADDRESS", veth.host_mac),
        *mtu,
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}),
    ]
    message = new(ifinfmsg, _NEWLINK, EXCL_CREATE, attrs=attributes)
    return Request(message, f"create the veth pair {veth.host_name} (node) - {veth.pod_name} (pod)")


def create_dummy(dummy: Dummy) -> Request:
    """The dummy link, down; that it is there already is fine."""
    info = {"attrs": [("IFLA_INFO_KIND", "dummy")]}
    attributes = [("IFLA_IFNAME", dummy.name), ("IFLA_LINKINFO", info)]
    message = new(ifinfmsg, _NEWLINK, EXCL_CREATE, attrs=attributes)
    return Request(message, f"create the dummy link {dummy.name}", EXISTS)


def probe(kind: str) -> Request:
    """A creation that must fail: EOPNOTSUPP without that kind of link, else EADDRNOTAVAIL.

    The kernel looks for the kind (and loads its module) before it looks at the address, which
    is a multicast one and never valid; so nothing is ever made. For kinds whose driver
    validates the address: dummy, veth, ifb.
    """
    info = {"attrs": [("IFLA_INFO_KIND", kind)]}
    attributes = [("IFLA_ADDRESS", "01:00:00:00:00:00"), ("IFLA_LINKINFO", info)]
    message = new(ifinfmsg, _NEWLINK, EXCL_CREATE, attrs=attributes)
    accept = frozenset({errno.EOPNOTSUPP, errno.EADDRNOTAVAIL})
    return Request(message, f"find out whether the kernel has {kind} links", accept)


def set_up(index: int, name: str, alias: str | None = None, mtu: int | None = None) -> Request:
    """Bring a link up, with its alias and MTU where given."""
    attributes: list[tuple[str, object]] = []
    if alias is not None:
        attributes.append(("IFLA_IFALIAS", alias))
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    message = new(ifinfmsg, _NEWLINK, index=index, flags=_IFF_UP, change=_IFF_UP, attrs=attributes)
    return Request(message, f"bring {name} up")


def delete(index: int, name: str) -> Request:
    """Delete a link by index (a name could be another's by now); gone already is fine."""
    return Request(new(ifinfmsg, _DELLINK, index=index), f"delete the link {name}", GONE)


def get(rtnl: Rtnl, name: str) -> Link | None:
    """The link of that name."""
    message = new(ifinfmsg, _GETLINK, attrs=[("IFLA_IFNAME", name)])
    answer = rtnl.get(message, f"look at the link {name}", GONE)
    return None if answer is None else _link(answer)


def by_index(rtnl: Rtnl, index: int) -> Link | None:
    """The link of that index."""
    answer = rtnl.get(new(ifinfmsg, _GETLINK, index=index), f"look at link {index}", GONE)
    return None if answer is None else _link(answer)


def list_all(rtnl: Rtnl) -> list[Link]:
    """All links of the namespace."""
    return [_link(item) for item in rtnl.dump(new(ifinfmsg, _GETLINK), "list the links")]


def _link(message: Message) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        alias=message.get_attr("IFLA_IFALIAS") or "",
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info is not None else "",
        peer=message.get_attr("IFLA_LINK"),
    )

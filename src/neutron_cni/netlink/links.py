"""Requests and look-ups for links of any kind. How each kind is made: `netlink.kinds`."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink.messages import EXCL_CREATE, GONE, new
from neutron_cni.netlink.rtnl import Message, Request, Rtnl
from neutron_cni.values.errors import CniError, Code

NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_IFF_UP = 0x1


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel shows it. `mtu` is in bytes, `peer` the index of a veth's other end.

    `alias` and `kind` are empty if the link has none. `master`: the index of the bridge or bond
    that it is in. `ipvlan_mode`, `macvlan_mode`: of such links, as the kernel numbers them.
    `max_mtu`: what the driver allows, 0 if it does not say. `peer_netns`: the number that the
    link's namespace has for that of `peer`; None if `peer` is in the same one. `tapped`: somebody
    sees all of its packets, by an XDP program or by promiscuous mode.

    `device`: what the kernel calls the device that a NIC is, such as "virtio2" or "0000:00:05.0",
    and `permanent` the MAC that it was made with. Nobody can change these. Empty if the link is no
    hardware, and with kernels before 5.14 (5.6 for the MAC).
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    alias: str
    kind: str
    peer: int | None
    master: int | None = None
    ipvlan_mode: int | None = None
    macvlan_mode: int | None = None
    max_mtu: int = 0
    peer_netns: int | None = None
    tapped: bool = False
    device: str = ""
    permanent: str = ""


def probe(kind: str) -> Request:
    """A request to make a link, which must fail: it finds out whether the kernel has that kind.

    The kernel answers EOPNOTSUPP if it does not have the kind, else EADDRNOTAVAIL. It looks for
    the kind (and loads its module) before it checks the address, which is a multicast one and
    never valid; so no link is ever made. For kinds whose driver validates the address: dummy,
    veth, ifb.
    """
    info = {"attrs": [("IFLA_INFO_KIND", kind)]}
    attributes = [("IFLA_ADDRESS", "01:00:00:00:00:00"), ("IFLA_LINKINFO", info)]
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=attributes)
    accept = frozenset({errno.EOPNOTSUPP, errno.EADDRNOTAVAIL})
    return Request(message, f"find out whether the kernel has {kind} links", accept)


def probe_ipvlan() -> Request:
    """A request that must fail, as `probe`'s, for ipvlan, whose driver looks for the parent first.

    None is named: the kernel answers EINVAL if it has the kind, EOPNOTSUPP if not.
    """
    info = {"attrs": [("IFLA_INFO_KIND", "ipvlan")]}
    message = new(ifinfmsg, NEWLINK, EXCL_CREATE, attrs=[("IFLA_LINKINFO", info)])
    accept = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
    return Request(message, "find out whether the kernel has ipvlan links", accept)


def set_up(index: int, name: str, alias: str | None = None, mtu: int | None = None) -> Request:
    """The request to bring a link up, and to set its alias and MTU (bytes) if they are given."""
    attributes: list[tuple[str, object]] = []
    if alias is not None:
        attributes.append(("IFLA_IFALIAS", alias))
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    message = new(ifinfmsg, NEWLINK, index=index, flags=_IFF_UP, change=_IFF_UP, attrs=attributes)
    return Request(message, f"bring {name} up")


def set_down(index: int, name: str) -> Request:
    """The request to take a link down; one that is down already is fine."""
    return Request(new(ifinfmsg, NEWLINK, index=index, change=_IFF_UP), f"take {name} down")


def set_alias(index: int, name: str, alias: str) -> Request:
    """The request to give a link an alias; an empty one takes it away."""
    message = new(ifinfmsg, NEWLINK, index=index, attrs=[("IFLA_IFALIAS", alias)])
    return Request(message, f"set the alias of {name}")


def delete(index: int, name: str) -> Request:
    """The request to delete a link; one that is gone is fine.

    The link is deleted by its index, as another link may have its name by now.
    """
    return Request(new(ifinfmsg, _DELLINK, index=index), f"delete the link {name}", GONE)


def get(rtnl: Rtnl, name: str) -> Link | None:
    """The link of that name, None if the namespace has none; raises CniError KERNEL."""
    message = new(ifinfmsg, _GETLINK, attrs=[("IFLA_IFNAME", name)])
    answer = rtnl.get(message, f"look at the link {name}", GONE)
    return None if answer is None else _link(answer)


def by_index(rtnl: Rtnl, index: int) -> Link | None:
    """The link of that index, None if the namespace has none; raises CniError KERNEL."""
    answer = rtnl.get(new(ifinfmsg, _GETLINK, index=index), f"look at link {index}", GONE)
    return None if answer is None else _link(answer)


def list_all(rtnl: Rtnl) -> list[Link]:
    """All links of the namespace; raises CniError KERNEL."""
    return [_link(item) for item in rtnl.dump(new(ifinfmsg, _GETLINK), "list the links")]


def name_taken(link: Link, netns: str) -> CniError:
    """The error where a pod, whose namespace is at `netns`, has a link of the wanted name that is
    not ours."""
    return CniError(
        Code.CONFLICT,
        f"the pod's namespace {netns} already has an interface {link.name} (MAC {link.mac})",
        "DEL the attachment that made it first, or use another CNI_IFNAME",
    )


def _link(message: Message) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") or "") if info is not None else ""
    data = info.get_attr("IFLA_INFO_DATA") if kind in ("ipvlan", "macvlan") else None
    xdp = message.get_attr("IFLA_XDP")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        alias=message.get_attr("IFLA_IFALIAS") or "",
        kind=kind,
        peer=message.get_attr("IFLA_LINK"),
        master=message.get_attr("IFLA_MASTER"),
        ipvlan_mode=data.get_attr("IFLA_IPVLAN_MODE")
        if kind == "ipvlan" and data is not None
        else None,
        macvlan_mode=data.get_attr("IFLA_MACVLAN_MODE")
        if kind == "macvlan" and data is not None
        else None,
        max_mtu=message.get_attr("IFLA_MAX_MTU") or 0,
        peer_netns=message.get_attr("IFLA_LINK_NETNSID"),
        tapped=bool(message.get_attr("IFLA_PROMISCUITY"))
        or (xdp is not None and xdp.get_attr("IFLA_XDP_ATTACHED") is not None),
        device=message.get_attr("IFLA_PARENT_DEV_NAME") or "",
        permanent=message.get_attr("IFLA_PERM_ADDRESS") or "",
    )

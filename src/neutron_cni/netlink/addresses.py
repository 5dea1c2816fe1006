"""Addresses of links: the requests that add and delete them, and a list of them."""

from __future__ import annotations

from ipaddress import ip_interface

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from neutron_cni.netlink.messages import EXCL_CREATE, EXISTS, FAMILY, GONE, new
from neutron_cni.netlink.plan import LinkAddress
from neutron_cni.netlink.rtnl import Message, Request, Rtnl
from neutron_cni.values.address import IPInterface

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_IFA_F_NODAD, _IFA_F_PERMANENT, _IFA_F_NOPREFIXROUTE = 0x02, 0x80, 0x200


def _address(kind: int, flags: int, wanted: LinkAddress, index: int) -> Message:
    bits = 0 if wanted.prefix_route else _IFA_F_NOPREFIXROUTE
    if wanted.address.version == 6:
        bits |= _IFA_F_NODAD
    text = str(wanted.address.ip)
    attributes: list[tuple[str, object]] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    if kind == _NEWADDR:
        attributes.append(("IFA_FLAGS", bits))
    return new(
        ifaddrmsg,
        kind,
        flags,
        family=FAMILY[wanted.address.version],
        prefixlen=wanted.address.network.prefixlen,
        index=index,
        attrs=attributes,
    )


def add(wanted: LinkAddress, index: int) -> Request:
    """The request to add an address to the link `index`; one that is there already is fine."""
    message = _address(_NEWADDR, EXCL_CREATE, wanted, index)
    return Request(message, f"add {wanted.address} to {wanted.link} ({wanted.side})", EXISTS)


def delete(wanted: LinkAddress, index: int) -> Request:
    """The request to delete an address from the link `index`; one that is gone is fine."""
    message = _address(_DELADDR, 0, wanted, index)
    return Request(message, f"take {wanted.address} off {wanted.link} ({wanted.side})", GONE)


def list_all(rtnl: Rtnl, index: int | None = None) -> list[tuple[int, IPInterface]]:
    """(link index, address) of each address on the link `index`, or on all links.

    IPv6 link-local addresses are listed too. Raises CniError KERNEL.
    """
    request = new(ifaddrmsg, _GETADDR, index=index or 0)
    found = []
    for item in rtnl.dump(request, "list the addresses"):
        text = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
        found.append((item["index"], ip_interface(f"{text}/{item['prefixlen']}")))
    return found


def list_fixed(rtnl: Rtnl) -> list[tuple[int, IPInterface]]:
    """The same of those that somebody gave the link for good.

    What a DHCP client or a router gave ends at some time, and who gave it gives it again.
    """
    found = []
    for item in rtnl.dump(new(ifaddrmsg, _GETADDR, index=0), "list the addresses"):
        text = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
        address = ip_interface(f"{text}/{item['prefixlen']}")
        flags = item.get_attr("IFA_FLAGS") or item["flags"]
        if flags & _IFA_F_PERMANENT and not address.is_link_local:
            found.append((item["index"], address))
    return found

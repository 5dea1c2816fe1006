"""Requests and look-ups for neighbour entries and proxies."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from pyroute2.netlink.rtnl.ndmsg import ndmsg

from neutron_cni.netlink.messages import EXCL_CREATE, FAMILY, GONE, REPLACE_CREATE, new
from neutron_cni.netlink.plan import Neighbour, ProxyNeighbour
from neutron_cni.netlink.rtnl import Message, Request, Rtnl
from neutron_cni.values.address import IPAddress

PROTOCOL = 110
"""The protocol number that marks neutron-cni's proxy entries (`ip neigh show proxy` prints "proto
110"). Neither the kernel nor a routing daemon has it (linux/rtnetlink.h, iproute2 rt_protos)."""

_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NUD_PERMANENT, _NUD_STALE = 0x80, 0x04
_NTF_PROXY = 0x08


def add(wanted: Neighbour, index: int) -> Request:
    """The request to set a neighbour; it replaces the link's entry for that address."""
    message = new(
        ndmsg,
        _NEWNEIGH,
        REPLACE_CREATE,
        family=FAMILY[wanted.address.version],
        ifindex=index,
        state=_NUD_PERMANENT if wanted.permanent else _NUD_STALE,
        attrs=[("NDA_DST", str(wanted.address)), ("NDA_LLADDR", wanted.mac)],
    )
    where = f"{wanted.link} ({wanted.side})"
    return Request(message, f"add the neighbour {wanted.address} at {wanted.mac} on {where}")


def find(rtnl: Rtnl, address: IPAddress, index: int) -> tuple[str, bool] | None:
    """(MAC, whether permanent) of the neighbour `address` on the link `index`, None without one."""
    message = new(
        ndmsg,
        _GETNEIGH,
        family=FAMILY[address.version],
        ifindex=index,
        attrs=[("NDA_DST", str(address))],
    )
    answer = rtnl.get(message, f"look up the neighbour {address}", GONE)
    if answer is None:
        return None
    return answer.get_attr("NDA_LLADDR") or "", bool(answer["state"] & _NUD_PERMANENT)


def list_permanent(rtnl: Rtnl) -> list[tuple[int, IPAddress, str]]:
    """(link index, address, MAC) of every permanent neighbour entry of the namespace.

    The kernel's own for groups and broadcasts, which are no entries of anybody, are left out.
    Raises CniError KERNEL.
    """
    return [
        (item["ifindex"], ip_address(item.get_attr("NDA_DST")), item.get_attr("NDA_LLADDR"))
        for version in FAMILY
        for item in rtnl.dump(new(ndmsg, _GETNEIGH, family=FAMILY[version]), "list the neighbours")
        if item["state"] & _NUD_PERMANENT and item.get_attr("NDA_LLADDR")
    ]


def _proxy(kind: int, flags: int, address: IPAddress, index: int) -> Message:
    attributes: list[tuple[str, object]] = [("NDA_DST", str(address))]
    if kind == _NEWNEIGH:
        attributes.append(("NDA_PROTOCOL", PROTOCOL))
    return new(
        ndmsg,
        kind,
        flags,
        family=FAMILY[address.version],
        ifindex=index,
        flags=_NTF_PROXY,
        attrs=attributes,
    )


def add_proxy(wanted: ProxyNeighbour, index: int) -> Request:
    """The request to have a link answer ARP or ND for an address.

    If the link does so already, the kernel answers success and not EEXIST.
    """
    message = _proxy(_NEWNEIGH, EXCL_CREATE, wanted.address, index)
    return Request(message, f"have {wanted.link} ({wanted.side}) answer for {wanted.address}")


def delete_proxy(address: IPAddress, index: int) -> Request:
    """The request to have a link no longer answer for an address; an entry that is gone is fine."""
    message = _proxy(_DELNEIGH, 0, address, index)
    return Request(message, f"stop link {index} answering for {address}", GONE)


def has_proxy(rtnl: Rtnl, address: IPAddress, index: int) -> bool:
    """Whether the link `index` answers ARP or ND for an address."""
    message = _proxy(_GETNEIGH, 0, address, index)
    return rtnl.get(message, f"look up the proxy neighbour {address}", GONE) is not None


def list_proxies(rtnl: Rtnl, addresses: AbstractSet[IPAddress]) -> list[tuple[int, IPAddress]]:
    """(link index, address) of every proxy neighbour entry for one of `addresses`.

    Other entries are not decoded: a node has one for each of its pods' addresses.
    """
    found = []
    for version in {address.version for address in addresses}:
        packed = {address.packed for address in addresses if address.version == version}

        def wanted(payload: bytes, packed: AbstractSet[bytes] = packed) -> bool:
            return any(item in payload for item in packed)

        # The bytes may stand elsewhere in the message, so the decoded addresses are compared.
        entries = _proxies(rtnl, version, wanted)
        found += [(index, address) for index, address, _ in entries if address in addresses]
    return found


def own_proxies(rtnl: Rtnl) -> list[tuple[int, IPAddress]]:
    """(link index, address) of every proxy neighbour entry that neutron-cni made (PROTOCOL)."""
    return [
        (index, address)
        for version in FAMILY
        for index, address, protocol in _proxies(rtnl, version, None)
        if protocol == PROTOCOL
    ]


def _proxies(
    rtnl: Rtnl, version: int, wanted: Callable[[bytes], bool] | None
) -> list[tuple[int, IPAddress, int]]:
    message = new(ndmsg, _GETNEIGH, family=FAMILY[version], flags=_NTF_PROXY)
    return [
        (item["ifindex"], ip_address(item.get_attr("NDA_DST")), item.get_attr("NDA_PROTOCOL") or 0)
        for item in rtnl.dump(message, "list the proxy neighbours", wanted)
    ]

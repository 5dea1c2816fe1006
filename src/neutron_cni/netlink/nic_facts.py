"""Finds the NICs that a configuration means, on the node and in pods. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path

from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

from neutron_cni.netlink import addresses, links, nic_records, routes
from neutron_cni.netlink.kinds import moved
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.messages import new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.namespaces import others
from neutron_cni.netlink.nic_records import NicRecord
from neutron_cni.netlink.nics import PREFIX, Nic, Place, Selector
from neutron_cni.netlink.plan import Side
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import anywhere
from neutron_cni.values.errors import CniError

_SYS = Path("/sys/class/net")
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_UPON = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap")
"""The kinds of links that send and get what is theirs by another one."""
_GETNSID = 90


def find(
    selector: Selector, netns: str = "", owners: AbstractSet[str] = frozenset()
) -> tuple[Nic, ...]:
    """The NIC that the attachment has already in its pod, whose namespace is at `netns`, or else
    those of the calling thread's namespace that `selector` means, or else those in pods.

    `owners` are the attachment's aliases. Raises CniError KERNEL, INVALID_ENVIRONMENT if `netns` is
    no network namespace, and IO_FAILURE if what is remembered of NICs can't be read.
    """
    with Rtnl.here() as rtnl:
        own = [nic for owner in owners for nic in _inside(netns, owner)] if netns else []
        if own:
            return tuple(replace(nic, place=Place.OWN) for nic in own)
        here = [nic for nic in _here(rtnl) if selector.fits(nic)]
    if here:
        return tuple(_judged(nic, owners) for nic in here)
    return tuple(_in_pods(selector))


def waiting() -> dict[str, bool]:
    """The MACs of the node's NICs that a pod may get, each with whether the NIC is as new.

    That is: without addresses that last, no port of a bridge, and seen by nobody else. Not among
    them are those of attachments, those that something of the node is upon (a default route, a
    macvlan), and two with one MAC. Raises CniError KERNEL.
    """
    with Rtnl.here() as rtnl:
        here = links.list_all(rtnl)
        nics = list(_here(rtnl))
    tapped = {link.index for link in here if link.tapped}
    carrying = {link.peer for link in here if link.kind in _UPON and link.peer_netns is None}
    macs = [nic.mac for nic in nics]
    return {
        nic.mac: not (nic.addresses or nic.master or nic.index in tapped)
        for nic in nics
        if not (nic.alias or nic.defaults or nic.index in carrying) and macs.count(nic.mac) == 1
    }


def _in_pods(selector: Selector) -> Iterator[Nic]:
    """The NICs of this node that are in pods and that are meant."""
    for record in nic_records.list_all():
        try:
            found = _inside(record.netns, record.owner)
        except CniError:
            continue  # The namespace is gone, and the file waits for DEL or GC.
        yield from (nic for nic in found if selector.fits(nic))


def _inside(netns: str, owner: str) -> list[Nic]:
    """The NICs of `owner` in one namespace."""
    record = nic_records.read(owner)
    with Namespace.open_pod(netns) as namespace, Rtnl.inside(namespace) as rtnl:
        link = moved.ours_in(rtnl, owner, Side.POD)
    return [replace(_nic(link, record), place=Place.OTHER, netns=netns)] if link else []


def _here(rtnl: Rtnl) -> Iterator[Nic]:
    """The links of the calling thread's namespace."""
    found = links.list_all(rtnl)
    fixed = addresses.list_fixed(rtnl)
    defaults = [
        (version, hop)
        for version in (4, 6)
        for route in routes.list_all(rtnl, anywhere(version))
        for hop in route.hops or {route.index}
    ]
    names = {link.index: link.name for link in found}
    for link in found:
        if link.name != "lo":
            yield replace(
                _with_device(_nic(link, nic_records.read(link.alias) if link.alias else None)),
                addresses=tuple(item for index, item in fixed if index == link.index),
                master=names.get(link.master or 0, ""),
                defaults=frozenset(version for version, hop in defaults if hop == link.index),
            )


def _nic(link: Link, record: NicRecord | None) -> Nic:
    return Nic(
        index=link.index,
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        kind=link.kind,
        max_mtu=link.max_mtu,
        alias=link.alias if link.alias.startswith(PREFIX) else "",
        memory=record.memory if record else None,
        device=link.device,
        permanent=link.permanent,
    )


def _with_device(nic: Nic) -> Nic:
    """The NIC with what sysfs says of its device, which it only does of NICs of the node."""
    device = _SYS / nic.name / "device"
    if not device.exists():
        return nic
    path = _PCI.findall(str(device.resolve()))
    functions = device / "physfn" / "net"
    above = sorted(item.name for item in functions.iterdir()) if functions.is_dir() else []
    return replace(
        nic,
        # A NIC behind a PCI bridge has the bridge's address in its path, too; virtio has a device
        # of its own below the PCI device.
        pci=path[-1] if path else "",
        function_of=above[0] if above else "",
    )


def _judged(nic: Nic, owners: AbstractSet[str]) -> Nic:
    """A NIC of the node with what is upon it, or with the word that it is another attachment's:
    the namespace of its pod died, or its DEL was killed; or it is a pod's veth."""
    if nic.alias and nic.alias not in owners:
        return replace(nic, place=Place.OTHER)
    with Rtnl.here() as rtnl:
        found = [link.name for link in links.list_all(rtnl) if _is_upon(link, nic, None)]
    with Namespace.own() as home:
        for namespace in others():
            found += namespace.call(partial(_children_here, nic, home))
    return replace(nic, children=tuple(found))


def _children_here(nic: Nic, home: Namespace) -> list[str]:
    """Names of the links of the calling thread's namespace that are upon a NIC of `home`."""
    with Rtnl.here() as rtnl:
        found = [link for link in links.list_all(rtnl) if link.kind in _UPON]
        number = _number_of(rtnl, home) if found else None
        if number is None:
            return []
        return [f"{link.name} of a pod" for link in found if _is_upon(link, nic, number)]


def _is_upon(link: Link, nic: Nic, netns: int | None) -> bool:
    return link.kind in _UPON and link.peer == nic.index and link.peer_netns == netns


def _number_of(rtnl: Rtnl, other: Namespace) -> int | None:
    """The number by which the socket's namespace knows another one; None if by none."""
    message = new(nsidmsg, _GETNSID, attrs=[("NETNSA_FD", other.descriptor)])
    try:
        answer = rtnl.get(message, "look up the number of a namespace", frozenset())
    except CniError:
        return None
    number = answer.get_attr("NETNSA_NSID") if answer is not None else None
    return None if number in (None, 0xFFFFFFFF, -1) else int(number)

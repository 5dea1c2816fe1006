"""NICs of the node that are moved into a pod, and come back.

    node   ens4, 1500 bytes, up, 10.0.0.5/24; /run/neutron-cni/nics remembers that meanwhile
    pod    eth0, alias "neutron-cni NETWORK CONTAINER IFNAME PART"

The alias goes with the NIC, wherever the kernel takes it. It is written by the very request that
moves the NIC, and goes by the one that gives the NIC all back: so after a crash at any moment a
NIC of ours is known by it. If the pod's namespace dies first, the kernel puts a physical NIC into
the machine's first namespace, down and without addresses, by the pod's name for it, or as `devN`
if that is taken there; its alias stays. What is no hardware (veth, dummy) dies with the namespace.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from hashlib import sha256

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from neutron_cni.netlink import addresses, links, nic_records
from neutron_cni.netlink.links import NEWLINK, Link
from neutron_cni.netlink.messages import EXISTS, new
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.nic_records import NicRecord
from neutron_cni.netlink.nics import PREFIX, Memory, Place
from neutron_cni.netlink.plan import LinkAddress, MovedLink, Side
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl
from neutron_cni.values.errors import CniError, Code

_WHY = {
    errno.EINVAL: "links of this kind belong to their namespace (bridges, for one)",
    errno.ENODEV: "it was there a moment ago: another pod has got it, or it was unplugged",
}
"""What the kernel does not say by itself."""


def create(wanted: MovedLink, host: Rtnl, pod: Callable[[], Rtnl], namespace: Namespace) -> Outcome:
    """See `LinkKind`. The NIC is moved under a name of its own, with its alias, in one request;
    then it gets its final name. What a DEL that was killed left half done is done first.

    By its final name it can't be moved: the kernel moves it first and renames it then, so it would
    be in the pod under another name, without an alias, where the final one is taken.
    """
    inside = pod()
    doing = f"move the NIC {wanted.nic.before.name if wanted.nic else ''} into the pod"
    if links.get(inside, wanted.pod_name) is not None:
        return Outcome(Request(new(ifinfmsg, NEWLINK), doing), errno.EEXIST)
    if ours_in(inside, wanted.alias, Side.POD) is None:
        put_back(wanted, host)
        if wanted.nic is None or wanted.nic.place is not Place.NODE:
            raise CniError(Code.TRY_AGAIN, f"cannot {doing}: it is no longer where it was")
        nic_records.write(NicRecord(wanted.alias, namespace.path, wanted.nic.before))
        (moved,) = host.attempt([_move(wanted, wanted.nic.index, namespace, doing)])
        if not moved.ok:
            nic_records.forget(wanted.alias)
            return moved
    link = ours_in(inside, wanted.alias, Side.POD)
    if link is None:
        raise CniError(Code.KERNEL, f"cannot {doing}: it went at once", "try again")
    attributes = [("IFLA_IFNAME", wanted.pod_name)]
    # EBUSY: the kernel renames no link that is up; one that somebody renamed may be.
    (_, named) = inside.attempt(
        [
            links.set_down(link.index, link.name),
            Request(new(ifinfmsg, NEWLINK, index=link.index, attrs=attributes), doing),
        ]
    )
    if not named.ok:
        clear_pod(wanted, inside)
        put_back(wanted, host)
    return named


def made_before(wanted: MovedLink, host: Rtnl, pod: Rtnl, netns: str) -> bool:
    """See `LinkKind`."""
    link = links.get(pod, wanted.pod_name)
    if link is None:
        # An ADD that was killed moved it, and did not come to the next step.
        return ours_in(pod, wanted.alias, Side.POD) is not None
    if link.alias != wanted.alias:
        raise links.name_taken(link, netns)
    return True


def bring_up(wanted: MovedLink, side: Side, index: int) -> Request:
    """See `LinkKind`."""
    return links.set_up(index, wanted.pod_name, mtu=wanted.mtu)


def to_delete(wanted: MovedLink, host: Rtnl) -> Link | None:
    """See `LinkKind`. None, as a NIC is put back: see `clear_pod` and `put_back`."""
    return None


def clear_pod(wanted: MovedLink, pod: Rtnl) -> None:
    """See `LinkKind`. The NIC goes to the node under a name of its own; `put_back` does the rest.

    It has that name before it leaves: what on the node looks out for an `eth0` never sees one.
    """
    link = ours_in(pod, wanted.alias, Side.POD)
    if link is None:
        return
    doing = f"move the NIC {link.name} of the pod back to the node"
    rename = new(ifinfmsg, NEWLINK, index=link.index, attrs=[("IFLA_IFNAME", _own_name(wanted))])
    with Namespace.own() as home:
        pod.run(
            [
                links.set_down(link.index, link.name),
                Request(rename, doing, EXISTS),
                # With its alias, which the pod may have changed: on the node it tells whose it is.
                _move(wanted, link.index, home, doing),
            ]
        )


def put_back(wanted: MovedLink, host: Rtnl) -> None:
    """See `LinkKind`. A NIC that is in a pod whose namespace nobody has named comes back, too.

    Where the node has another link of its old name, or the file is lost that remembers it, the NIC
    keeps the name that it came with. Hardware that is nowhere is still remembered, for a while: the
    kernel takes a namespace apart later than its name goes (`bring_late_home`).
    """
    record = nic_records.read(wanted.alias)
    link = ours_in(host, wanted.alias, Side.HOST)
    if link is None and record is not None:
        _fetch(wanted, record.netns)
        link = ours_in(host, wanted.alias, Side.HOST)
    if link is not None:
        # In one send: who is killed here has done all or nothing.
        host.run([*_as_before(link, record.memory if record else None), _without_alias(link)])
    elif record is not None and not record.memory.kind and nic_records.keep(wanted.alias):
        return
    nic_records.forget(wanted.alias)


def bring_late_home(host: Rtnl) -> list[CniError]:
    """Put NICs back whose DEL did not find them; what failed, as they are not the caller's.

    Raises CniError IO_FAILURE where what is remembered can't be read.
    """
    failures: list[CniError] = []
    for record in nic_records.list_late():
        try:
            put_back(MovedLink("", record.owner), host)
        except CniError as error:
            failures.append(error)
    return failures


def _fetch(wanted: MovedLink, netns: str) -> None:
    try:
        pod = Namespace.open_pod(netns)
    except CniError:
        return  # The namespace is gone, and a NIC that is no hardware with it.
    with pod, Rtnl.inside(pod) as rtnl:
        clear_pod(wanted, rtnl)


def _as_before(link: Link, memory: Memory | None) -> Iterator[Request]:
    """The requests that give a NIC on the node its name, MTU, state and addresses again."""
    if memory is None:
        return
    yield links.set_down(link.index, link.name)
    if link.name != memory.name:
        yield _changed(link, "IFLA_IFNAME", memory.name, _UNNAMED)
    if link.mac != memory.mac:
        yield _changed(link, "IFLA_ADDRESS", memory.mac)
    if link.mtu != memory.mtu:
        yield _changed(link, "IFLA_MTU", memory.mtu)
    if memory.up:
        yield links.set_up(link.index, memory.name)
    for address in memory.addresses:
        again = LinkAddress(Side.HOST, memory.name, address, prefix_route=True)
        yield addresses.add(again, link.index)


def _changed(
    link: Link, attribute: str, value: object, accept: frozenset[int] = frozenset()
) -> Request:
    message = new(ifinfmsg, NEWLINK, index=link.index, attrs=[(attribute, value)])
    return Request(message, f"give the NIC {link.name} {value} again, as it had it", accept)


def _without_alias(link: Link) -> Request:
    return links.set_alias(link.index, link.name, "")


def differences(wanted: MovedLink, side: Side, found: Link) -> Iterator[str]:
    """See `LinkKind`."""
    if wanted.mac and found.mac != wanted.mac:
        yield f"{side}: the link {found.name} has the MAC {found.mac}, not {wanted.mac}"
    # A later plugin of the chain may have made the MTU smaller, and may not have said so.
    if wanted.mtu is not None and found.mtu > wanted.mtu:
        yield f"{side}: the link {found.name} has the MTU {found.mtu}, not {wanted.mtu}"
    if found.alias != wanted.alias:
        yield f"{side}: the link {found.name} has the alias {found.alias!r}, not {wanted.alias!r}"


_UNNAMED = frozenset({errno.EEXIST, errno.EBUSY})
"""The old name is another link's now, or somebody brought the NIC up at once: it does without."""


def _move(wanted: MovedLink, index: int, to: Namespace, doing: str) -> Request:
    attributes: list[tuple[str, object]] = [
        ("IFLA_NET_NS_FD", to.descriptor),
        ("IFLA_IFNAME", _own_name(wanted)),
        ("IFLA_IFALIAS", wanted.alias),
    ]
    return Request(new(ifinfmsg, NEWLINK, index=index, attrs=attributes), doing, hints=_WHY)


def _own_name(wanted: MovedLink) -> str:
    """The name that the NIC has on its way: 15 characters, which no other link has."""
    return f"ncni{sha256(wanted.alias.encode()).hexdigest()[:11]}"


def ours_in(rtnl: Rtnl, owner: str, side: Side) -> Link | None:
    """The NIC of the attachment whose alias is `owner`, in the socket's namespace.

    A pod may give its links any alias, name and MAC, and make links of its own. So the NIC must be
    the device that the node remembers, where the kernel tells which one a link is, and of its kind
    otherwise; without a file of the node's, hardware only. The alias tells which of several it is.

    The permanent MAC tells ports of one device apart, and on the node a NIC that was plugged in
    since, and is called like the former device. Drivers of virtual functions change it.
    """
    record = nic_records.read(owner)
    memory = record.memory if record else None
    found = links.list_all(rtnl)
    if memory is None:
        return next((x for x in found if x.alias == owner and not x.kind), None)
    if memory.device:
        of_device = [x for x in found if x.device == memory.device and not _is_of_another(x, owner)]
        same = [x for x in of_device if x.permanent == memory.permanent]
        may_be = same or of_device
        others = may_be if side is Side.POD else [x for x in same if not _is_as_before(x, memory)]
    else:
        may_be = [x for x in found if x.kind == memory.kind]
        others = [x for x in may_be if _has_its_mac(x, memory, side)]
    by_alias = [x for x in may_be if x.alias == owner]
    if len(by_alias) > 1:
        by_alias = [x for x in by_alias if x.mac == memory.mac]
    candidates = by_alias or others
    return candidates[0] if len(candidates) == 1 else None


def _is_of_another(link: Link, owner: str) -> bool:
    """Whether the node remembers that another attachment has got this very NIC since."""
    if link.alias == owner or not link.alias.startswith(PREFIX):
        return False
    other = nic_records.read(link.alias)
    return other is not None and (link.device, link.permanent) == (
        other.memory.device,
        other.memory.permanent,
    )


def _is_as_before(link: Link, memory: Memory) -> bool:
    """Whether a NIC on the node has all that it had there, as one that was not moved yet."""
    now = (link.name, link.mac, link.mtu, link.up)
    before = (memory.name, memory.mac, memory.mtu, memory.up)
    return now == before and not link.alias.startswith(PREFIX)


def _has_its_mac(link: Link, memory: Memory, side: Side) -> bool:
    """Whether it may be a NIC whose alias a pod took away: other NICs may have the MAC, too, but
    not be down on the node, as the kernel has one that comes out of a pod."""
    if link.alias.startswith(PREFIX) or link.mac != memory.mac or link.name == memory.name:
        return False
    return side is Side.POD or not link.up

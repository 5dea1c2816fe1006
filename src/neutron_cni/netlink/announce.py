"""Tells the hosts on a link where an address is: gratuitous ARP, unsolicited NA.

RFC 5227 section 3 and RFC 4861 sections 4.4 and 7.2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address

from neutron_cni.netlink import frames, links
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.netlink.rtnl import Rtnl
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

_ROUTER, _OVERRIDE = 0x80000000, 0x20000000


def send_all(
    wanted: Sequence[Announcement], rtnl: Callable[[Side], Rtnl], pod: Namespace | None
) -> None:
    """Send what is wanted of each link, with the MAC that it has: the node's from the caller's
    namespace, the pod's from `pod`. `rtnl` gives a socket in either.

    Raises CniError KERNEL if a link is not there, or is down.
    """
    by_link: dict[tuple[Side, str], list[IPAddress]] = {}
    for item in wanted:
        by_link.setdefault((item.side, item.link), []).append(item.address)
    for (side, name), announced in by_link.items():
        link = links.get(rtnl(side), name)
        if link is None:
            raise CniError(Code.KERNEL, f"cannot announce on {name} ({side}): no such link")
        # The node is a router for the pod's address; the pod itself is none.
        sending = partial(send, name, link.mac, announced, router=side is Side.HOST)
        if side is Side.HOST:
            sending()
        elif pod is not None:
            pod.call(sending)


def send_from(wanted: Sequence[Announcement], netns: str) -> None:
    """The same for whoever has no sockets yet; `netns` is the path of the pod's namespace.

    Raises CniError, INVALID_ENVIRONMENT if something is to be sent in the pod and that is gone.
    """
    with ExitStack() as open_things:
        pod, sockets = None, {}
        if any(item.side is Side.POD for item in wanted):
            pod = open_things.enter_context(Namespace.open_pod(netns))
            sockets[Side.POD] = open_things.enter_context(Rtnl.inside(pod))
        if any(item.side is Side.HOST for item in wanted):
            sockets[Side.HOST] = open_things.enter_context(Rtnl.here())
        send_all(wanted, sockets.__getitem__, pod)


def send(link: str, mac: str, addresses: Iterable[IPAddress], *, router: bool) -> None:
    """Send two frames for each address from `link` of the calling thread's namespace.

    `mac` is the one to announce, "02:00:00:00:00:01"; `router` as for `announcement`. Two frames,
    because receivers acknowledge none. Raises CniError KERNEL if a frame can't be sent.
    """
    try:
        with frames.packet_socket() as sock:
            sock.bind((link, 0))
            for address in addresses:
                for frame in announcement(mac, address, router=router):
                    sock.send(frame)
    except OSError as error:
        raise CniError(Code.KERNEL, f"cannot announce on {link}: {error.strerror}") from error


def announcement(mac: str, address: IPAddress, *, router: bool) -> tuple[bytes, bytes]:
    """The frames that say: `address` is at `mac`.

    `router`: the sender forwards for the address (the NA's R flag).
    """
    source = bytes.fromhex(mac.replace(":", ""))
    if isinstance(address, IPv4Address):
        # Once as request and once as reply, as some stacks and switches take only one of them.
        return (
            frames.arp(frames.REQUEST, source, address, address, bytes(6)),
            frames.arp(frames.REPLY, source, address, address, source),
        )
    flags = _OVERRIDE | (_ROUTER if router else 0)
    frame = frames.neighbour_discovery(
        frames.ADVERTISEMENT, source, address, frames.ALL_NODES, address, flags
    )
    return frame, frame

"""Requests and look-ups for routes, of the main table unless another one is named."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from pyroute2.netlink.rtnl.rtmsg import rtmsg

from neutron_cni.netlink import rules
from neutron_cni.netlink.messages import EXCL_CREATE, FAMILY, GONE, new
from neutron_cni.netlink.plan import ANY_TABLE, MAIN_TABLE, LinkRoute
from neutron_cni.netlink.rtnl import Message, Request, Rtnl
from neutron_cni.values.address import IPAddress, IPNetwork

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_RT_TABLE_LOCAL = 255
_RT_TABLE_COMPAT = 252
"""The value of rtm_table for a table whose number does not fit there."""
_RTPROT_KERNEL, _RTPROT_BOOT = 2, 3
_RT_SCOPE = {"global": 0, "link": 253}
_RT_SCOPE_NOWHERE = 255
_RTN_UNICAST = 1
_RTM_F_FIB_MATCH = 0x2000
_IP6_RT_PRIO_USER = 1024
_RTNH_F_ONLINK = 4
_FAR = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses for documents (RFC 5737, RFC 3849): no host on the node's links has one."""
_NOT_FORWARDED = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EXDEV}
)
"""No route, a prohibiting one, or a source that rp_filter does not let in by that link."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the kernel shows it. `index` is that of its link, `mtu` is in bytes.

    `hops` are the links of all next hops, if it has several; `index` is then that of the first.
    `local`: the destination is an address of the namespace itself (or the route is of another
    type than unicast). `by_kernel`: the kernel made it itself, for an address.
    """

    destination: IPNetwork
    index: int | None
    gateway: IPAddress | None
    source: IPAddress | None
    scope: str
    mtu: int | None
    metric: int
    local: bool = False
    hops: frozenset[int] = frozenset()
    table: int = MAIN_TABLE
    by_kernel: bool = field(default=False, compare=False)


def _route(kind: int, flags: int, wanted: LinkRoute, index: int) -> Message:
    destination = wanted.destination
    attributes: list[tuple[str, object]] = [("RTA_OIF", index)]
    if destination.prefixlen:
        attributes.append(("RTA_DST", str(destination.network_address)))
    if wanted.gateway is not None:
        attributes.append(("RTA_GATEWAY", str(wanted.gateway)))
    if wanted.source is not None:
        attributes.append(("RTA_PREFSRC", str(wanted.source)))
    if wanted.mtu is not None:
        attributes.append(("RTA_METRICS", {"attrs": [("RTAX_MTU", wanted.mtu)]}))
    attributes.append(("RTA_TABLE", wanted.table))
    if wanted.metric:
        attributes.append(("RTA_PRIORITY", wanted.metric))
    return new(
        rtmsg,
        kind,
        flags,
        family=FAMILY[destination.version],
        dst_len=destination.prefixlen,
        # The table's number is in RTA_TABLE; this field holds only those below 256.
        table=wanted.table if wanted.table < 256 else _RT_TABLE_COMPAT,
        # "boot" is what `ip route add` writes and `ip route` does not print.
        proto=_RTPROT_BOOT,
        scope=_RT_SCOPE[wanted.scope] if kind == _NEWROUTE else _RT_SCOPE_NOWHERE,
        type=_RTN_UNICAST,
        flags=_RTNH_F_ONLINK if wanted.onlink else 0,
        attrs=attributes,
    )


def add(wanted: LinkRoute, index: int) -> Request:
    """The request to add a route. EEXIST is an error: the caller must look whose route it is."""
    return Request(_route(_NEWROUTE, EXCL_CREATE, wanted, index), f"add {describe(wanted)}")


def delete(wanted: LinkRoute, index: int) -> Request:
    """The request to delete a route if it goes by the link `index`; one that is gone is fine."""
    return Request(_route(_DELROUTE, 0, wanted, index), f"delete {describe(wanted)}", GONE)


def describe(wanted: LinkRoute) -> str:
    """A route in words, as `ip route` would write it."""
    name = str(wanted.destination) if wanted.destination.prefixlen else "default"
    via = f" via {wanted.gateway}" if wanted.gateway is not None else ""
    table = f" table {wanted.table}" if wanted.table != MAIN_TABLE else ""
    metric = f" metric {wanted.metric}" if wanted.metric else ""
    return f"the route {name}{via} dev {wanted.link}{table}{metric} ({wanted.side})"


def standard_metric(route: Route) -> int:
    """The metric of a route of this IP version for which none was asked."""
    return 0 if route.destination.version == 4 else _IP6_RT_PRIO_USER


def host_network(address: IPAddress) -> IPNetwork:
    """The network that holds just `address`: /32 or /128."""
    return ip_network(f"{address}/{address.max_prefixlen}")


def find(
    rtnl: Rtnl, destination: IPNetwork, table: int = MAIN_TABLE, metric: int = 0
) -> Route | None:
    """The route of `table` to exactly `destination`, None if there is none.

    With a `metric` the route that has it, else the one that counts. A host route of the main table
    is asked for with a lookup, whatever the size of the table; the kernel then answers with a local
    route, too. Other routes are searched in a dump. Raises CniError KERNEL.
    """
    if metric or table != MAIN_TABLE or destination.prefixlen != destination.max_prefixlen:
        listed = list_all(rtnl, destination, table=table)
        matching = [
            item
            for item in listed
            if item.destination == destination and metric in (0, item.metric)
        ]
        return min(matching, key=lambda item: item.metric, default=None)
    message = new(
        rtmsg,
        _GETROUTE,
        family=FAMILY[destination.version],
        dst_len=destination.prefixlen,
        flags=_RTM_F_FIB_MATCH,
        attrs=[("RTA_DST", str(destination.network_address))],
    )
    absent = GONE | {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}
    answer = rtnl.get(message, f"look up the route to {destination}", absent)
    route = None if answer is None else _read_route(answer)
    return route if route is not None and route.destination == destination else None


def in_use(rtnl: Rtnl, wanted: LinkRoute, index: int) -> Route | None:
    """The route that equals `wanted` but for its table and metric, in a table that a rule leads to.

    None if there is none. Upstream's `sbr`, a plugin for pods with several networks, moves the
    routes of an interface to a table of its own; Multus moves default routes. `index` is that of
    the link of `wanted`. Raises CniError KERNEL.
    """
    listed = list_all(rtnl, wanted.destination, index=index, table=ANY_TABLE)
    same = [x for x in listed if (x.destination, x.gateway) == (wanted.destination, wanted.gateway)]
    tables = rules.tables(rtnl, wanted.destination.version) if same else frozenset()
    return next((item for item in same if item.table in tables), None)


def way_out(rtnl: Rtnl, source: IPAddress, incoming: int) -> int | None:
    """The index of the link by which a packet leaves that comes from `source`, in by the link
    `incoming`, and is for somewhere far; None where it is not forwarded. Raises CniError KERNEL."""
    message = new(
        rtmsg,
        _GETROUTE,
        family=FAMILY[source.version],
        dst_len=source.max_prefixlen,
        src_len=source.max_prefixlen,
        attrs=[
            ("RTA_DST", _FAR[source.version]),
            ("RTA_SRC", str(source)),
            ("RTA_IIF", incoming),
        ],
    )
    answer = rtnl.get(message, f"look up the way of what {source} sends", _NOT_FORWARDED)
    return None if answer is None else answer.get_attr("RTA_OIF")


def list_all(
    rtnl: Rtnl,
    like: IPNetwork | None = None,
    *,
    version: int = 4,
    index: int | None = None,
    table: int = MAIN_TABLE,
) -> list[Route]:
    """The routes of `table`: all, those of the prefix length of `like`, or by the link `index`.

    ANY_TABLE: those of all tables but the local one. The kernel filters by table and link. The
    prefix length is read in the raw message, because decoding costs 0.1 ms a route and nodes have
    thousands. Raises CniError KERNEL.
    """
    version = like.version if like is not None else version
    attributes: list[tuple[str, object]] = [("RTA_TABLE", table)] if table != ANY_TABLE else []
    if index is not None:
        attributes.append(("RTA_OIF", index))
    number = table if table < 256 else _RT_TABLE_COMPAT
    message = new(rtmsg, _GETROUTE, family=FAMILY[version], table=number, attrs=attributes)
    length = like.prefixlen if like is not None else None

    def wanted(payload: bytes) -> bool:
        # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
        in_table = payload[4] != _RT_TABLE_LOCAL if number == ANY_TABLE else payload[4] == number
        return in_table and (length is None or payload[1] == length)

    return [_read_route(item) for item in rtnl.dump(message, "list the routes", wanted)]


def _read_route(message: Message) -> Route:
    version = 4 if message["family"] == FAMILY[4] else 6
    text = message.get_attr("RTA_DST") or ("0.0.0.0" if version == 4 else "::")
    destination: IPv4Network | IPv6Network = ip_network(f"{text}/{message['dst_len']}")
    gateway = message.get_attr("RTA_GATEWAY")
    source = message.get_attr("RTA_PREFSRC")
    metrics = message.get_attr("RTA_METRICS")
    hops = [hop["oif"] for hop in message.get_attr("RTA_MULTIPATH") or ()]
    return Route(
        destination=destination,
        index=message.get_attr("RTA_OIF") or next(iter(hops), None),
        gateway=ip_address(gateway) if gateway else None,
        source=ip_address(source) if source else None,
        scope="link" if message["scope"] == _RT_SCOPE["link"] else "global",
        mtu=metrics.get_attr("RTAX_MTU") if metrics is not None else None,
        metric=message.get_attr("RTA_PRIORITY") or 0,
        local=message["type"] != _RTN_UNICAST,
        hops=frozenset(hops),
        table=message.get_attr("RTA_TABLE") or message["table"],
        by_kernel=message["proto"] == _RTPROT_KERNEL,
    )

"""Policy routing for pods whose NIC has not the node's default route.

Neutron lets a pod's address pass on one port only, so what the pod sends must leave by that port's
NIC, whichever NIC the node itself uses. For each address of such a pod the node has two rules: the
main table counts for single hosts (other pods of the node), and for all else a table that knows
only the NIC: its subnets, the host routes of the pod's subnet, and the subnet's gateway. So strict
rp_filter is content, too: the kernel looks for the way back by the same rules.
Everything here is pure.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_network

from neutron_cni.netlink.facts import Uplink
from neutron_cni.netlink.plan import ANY_TABLE, MAIN_TABLE, LinkRoute, Path, Rule, Side
from neutron_cni.values.address import IPAddress, IPNetwork, anywhere, on_every_link
from neutron_cni.values.lease import Lease, LeasedAddress

HOSTS_FIRST, NIC_NEXT = 1100, 1101
"""Priorities of the two rules: after the node's own addresses (0), before the main table."""

_FIRST_TABLE, _TABLES = 100_000, 900_000


def concerned(lease: Lease, uplink: Uplink | None) -> list[LeasedAddress]:
    """The addresses that need rules: they are a Neutron port's, and the default route of their IP
    version goes by another NIC than `uplink`, or there is none.

    Not those of a version that the NIC does not speak: see `notes`.
    """
    return [
        item
        for item in _elsewhere(lease, uplink)
        if uplink is not None and uplink.speaks(item.address.version)
    ]


def _elsewhere(lease: Lease, uplink: Uplink | None) -> list[LeasedAddress]:
    if uplink is None or not lease.port_id:
        return []
    return [item for item in lease.addresses if item.address.version not in uplink.defaults]


def rules(lease: Lease, uplink: Uplink | None) -> list[Rule]:
    """The rules of every address of the lease that needs them."""
    found = []
    for item in concerned(lease, uplink):
        assert uplink is not None, "an address is concerned only where there is an uplink"
        table = _table(_routes(item, lease, uplink))
        found += _rules_of(item.address.ip, table)
    return found


def routes(lease: Lease, uplink: Uplink | None) -> list[LinkRoute]:
    """The routes of the tables that `rules` names.

    They are shared: all pods of a subnet have the same, and name the table by what is in it. A
    table without a rule has no effect, and goes with its NIC.
    """
    found: dict[LinkRoute, None] = {}
    for item in concerned(lease, uplink):
        assert uplink is not None, "an address is concerned only where there is an uplink"
        content = _routes(item, lease, uplink)
        table = _table(content)
        found |= {replace(route, table=table, shared=True): None for route in content}
    return list(found)


def paths(lease: Lease, uplink: Uplink | None, veth: str) -> list[Path]:
    """What CHECK asks the kernel: whether the pod's packets leave by the NIC of their port.

    CHECK does not ask for the rules. Whether there are any was decided at ADD, and the node's
    default route and subnets may be others since; or an operator's own rules do the same.
    """
    if uplink is None or not lease.port_id:
        return []
    return [
        Path(item.address.ip, veth, uplink.name)
        for item in lease.addresses
        if uplink.speaks(item.address.version)
    ]


def leftovers(lease: Lease) -> list[Rule]:
    """Rules for `undo`: for every address, whether it has any, and whichever table they name.

    Whether the pod has rules was decided at ADD: the default route may go elsewhere by now.
    """
    return [rule for item in lease.addresses for rule in _rules_of(item.address.ip, ANY_TABLE)]


def notes(lease: Lease, uplink: Uplink | None) -> list[str]:
    """Sentences for the operator: which addresses do not get far, and why."""
    found = []
    for item in _elsewhere(lease, uplink):
        assert uplink is not None, "an address is elsewhere only where there is an uplink"
        version, ip = item.address.version, item.address.ip
        if not uplink.speaks(version):
            found.append(
                f"{uplink.name} has no IPv{version} address, and the default route does not go by "
                f"it: give it that of its port, or the pod's {ip} reaches this node only"
            )
        elif item.gateway is None:
            found.append(
                f"the default route does not go by {uplink.name}, and the subnet of the pod's {ip} "
                "has no gateway: what is not for a subnet on that NIC leaves by another one, where "
                "port security drops it"
            )
    return found


def _rules_of(address: IPAddress, table: int) -> list[Rule]:
    source = ip_network(address)
    # ANY_TABLE is for `undo`, which must not compare this rule's table either.
    main = ANY_TABLE if table == ANY_TABLE else MAIN_TABLE
    suppress = None if table == ANY_TABLE else address.max_prefixlen - 1
    first = Rule(
        Side.HOST,
        address.version,
        HOSTS_FIRST,
        main,
        source=source,
        suppress_prefixlength=suppress,
        checked=False,
    )
    then = Rule(Side.HOST, address.version, NIC_NEXT, table, source=source, checked=False)
    return [first, then]


def _routes(item: LeasedAddress, lease: Lease, uplink: Uplink) -> list[LinkRoute]:
    """What the table for `item` holds, but for the table's number."""
    version = item.address.version
    subnets = [subnet for subnet in uplink.onlink if subnet.version == version]
    found = [LinkRoute(Side.HOST, uplink.name, subnet, scope="link") for subnet in subnets]
    for route in lease.routes:
        of_subnet = route.gateway is not None and (
            route.gateway in item.address.network or on_every_link(route.gateway)
        )
        if of_subnet and route.destination.version == version and route.destination.prefixlen:
            found.append(_via(uplink, route.destination, route.gateway, subnets))
    if item.gateway is not None:
        found.append(_via(uplink, anywhere(version), item.gateway, subnets))
    return list({route.destination: route for route in reversed(found)}.values())


def _via(
    uplink: Uplink, destination: IPNetwork, gateway: IPAddress | None, subnets: list[IPNetwork]
) -> LinkRoute:
    """A route by a gateway that is on the NIC's link, even if the NIC has no address there."""
    known = gateway is not None and (
        on_every_link(gateway) or any(gateway in subnet for subnet in subnets)
    )
    return LinkRoute(Side.HOST, uplink.name, destination, gateway=gateway, onlink=not known)


def _table(content: list[LinkRoute]) -> int:
    """The number of the table with this content: 100000 to 999999, the same on every node."""
    lines = sorted(
        f"{route.link} {route.destination} {route.gateway} {route.onlink}" for route in content
    )
    number = int.from_bytes(sha256("\n".join(lines).encode()).digest()[:8])
    return _FIRST_TABLE + number % _TABLES

"""Plans of several parts made one: everything once, and nothing in two ways."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from neutron_cni.netlink.combine import combined
from neutron_cni.netlink.plan import (
    Announcement,
    Dummy,
    LinkAddress,
    LinkRoute,
    Neighbour,
    Plan,
    ProxyNeighbour,
    Rule,
    Side,
    Sysctl,
    VethPair,
)
from neutron_cni.values.errors import CniError, Code

PAIR = VethPair("veth1", "eth0", "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01", "neutron-cni n c eth0 p")
ADDRESS = LinkAddress(Side.POD, "eth0", ip_interface("10.0.0.5/24"))
ROUTE = LinkRoute(Side.POD, "eth0", ip_network("0.0.0.0/0"), gateway=ip_address("10.0.0.1"))
RULE = Rule(Side.HOST, 4, 100, 7, source=ip_network("10.0.0.5/32"))
NEIGHBOUR = Neighbour(Side.POD, "eth0", ip_address("10.0.0.1"), "02:00:00:00:00:02")
SETTING = Sysctl(Side.HOST, "net/ipv4/conf/up0/forwarding", "1")
WHOLE = Plan(
    links=(PAIR, Dummy("dummy0")),
    addresses=(ADDRESS,),
    routes=(ROUTE,),
    rules=(RULE,),
    neighbours=(NEIGHBOUR,),
    proxies=(ProxyNeighbour(Side.HOST, "up0", ip_address("10.0.0.5")),),
    sysctls=(SETTING,),
    announcements=(Announcement(Side.HOST, "up0", ip_address("10.0.0.5")),),
    notes=("a note",),
)


def test_the_sum_of_none_is_the_empty_plan() -> None:
    assert combined() == Plan()


def test_what_two_parts_want_alike_is_wanted_once() -> None:
    assert combined(WHOLE, WHOLE) == WHOLE


def test_the_sum_has_everything_of_both_in_their_order() -> None:
    other = Plan(
        links=(replace(PAIR, host_name="veth2", pod_name="veth0"),), notes=("another note",)
    )
    made = combined(other, WHOLE)
    assert made.links == (*other.links, *WHOLE.links)
    assert made.notes == ("another note", "a note")


@pytest.mark.parametrize(
    "other",
    [
        Plan(links=(replace(PAIR, mtu=1400),)),
        Plan(links=(replace(PAIR, host_name="veth2"),)),
        Plan(links=(Dummy("veth1"),)),
        Plan(addresses=(replace(ADDRESS, link="veth0"),)),
        Plan(addresses=(replace(ADDRESS, address=ip_interface("10.0.0.5/32")),)),
        Plan(routes=(replace(ROUTE, link="veth0"),)),
        Plan(rules=(replace(RULE, table=8),)),
        Plan(neighbours=(replace(NEIGHBOUR, mac="02:00:00:00:00:03"),)),
        Plan(sysctls=(replace(SETTING, value="0"),)),
    ],
)
def test_what_two_parts_want_differently_is_refused(other: Plan) -> None:
    with pytest.raises(CniError, match="want different things") as caught:
        combined(WHOLE, other)
    assert caught.value.code == Code.CONFLICT


@pytest.mark.parametrize(
    "other",
    [
        Plan(routes=(replace(ROUTE, table=100),)),
        Plan(routes=(replace(ROUTE, side=Side.HOST),)),
        Plan(rules=(replace(RULE, priority=101),)),
        Plan(addresses=(replace(ADDRESS, side=Side.HOST),)),
        Plan(neighbours=(replace(NEIGHBOUR, link="veth0"),)),
    ],
)
def test_the_same_in_another_place_is_no_conflict(other: Plan) -> None:
    assert combined(WHOLE, other) != WHOLE


def test_link_local_addresses_are_each_links_own_matter() -> None:
    link_local = replace(ADDRESS, address=ip_interface("fe80::1/128"))
    made = combined(
        Plan(addresses=(link_local,)), Plan(addresses=(replace(link_local, link="veth0"),))
    )
    assert len(made.addresses) == 2

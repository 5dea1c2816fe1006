"""neutron-ipvlan's own page: plans and results as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from neutron_cni.netlink.facts import HostFacts, OtherLink, PodFacts, Uplink
from neutron_cni.netlink.plan import (
    ANY_TABLE,
    MAIN_TABLE,
    Announcement,
    Ipvlan,
    IpvlanMode,
    LinkAddress,
    LinkRoute,
    Plan,
    ProxyNeighbour,
    Rule,
    Side,
    Sysctl,
)
from neutron_cni.plugins import ipvlan
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.plugins.ipvlan import Config
from neutron_cni.plugins.veth_pair import metric_of
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Interface, IPConfig, Result, Route
from tests.support.attachments import GATEWAY, GATEWAY6, POD, UPLINK, V4, V6, call_of

EVERYTHING, EVERYTHING6 = ip_network("0.0.0.0/0"), ip_network("::/0")
LEASE = Lease((V4,), routes=(Route(EVERYTHING, GATEWAY),), mtu=1442)
DUAL = replace(LEASE, addresses=(V4, V6), routes=(*LEASE.routes, Route(EVERYTHING6, GATEWAY6)))
FACTS = HostFacts(uplink=UPLINK, ipvlan=True)
ALIAS = "neutron-cni net1 c0ffee eth0 ipvlan"


def call(
    lease: Lease = LEASE,
    facts: HostFacts = FACTS,
    inside: PodFacts | None = None,
    options: Mapping[str, object] | None = None,
) -> Call[Config]:
    return call_of(Config, options or {}, lease, facts, inside)


def test_the_whole_plan_of_a_pod() -> None:
    assert ipvlan.plan(call()) == Plan(
        links=(Ipvlan("ens3", "eth0", ALIAS, IpvlanMode.L2, 1442),),
        addresses=(
            LinkAddress(Side.POD, "eth0", ip_interface("10.10.10.19/24"), prefix_route=True),
        ),
        routes=(LinkRoute(Side.POD, "eth0", EVERYTHING, gateway=GATEWAY),),
        sysctls=(
            Sysctl(Side.POD, "net/ipv4/conf/eth0/arp_ignore", "1"),
            Sysctl(Side.POD, "net/ipv6/conf/eth0/disable_ipv6", "1", required=False),
        ),
        announcements=(Announcement(Side.POD, "eth0", ip_address("10.10.10.19")),),
    )


def test_an_ipv6_pod_waits_for_nothing_and_listens_to_no_router() -> None:
    plan = ipvlan.plan(call(DUAL))
    settings = {item.key: item.value for item in plan.sysctls}
    assert settings["net/ipv6/conf/eth0/accept_dad"] == "0"
    assert settings["net/ipv6/conf/eth0/accept_ra"] == "0"
    assert settings["net/ipv6/conf/eth0/disable_ipv6"] == "0"
    assert LinkRoute(Side.POD, "eth0", EVERYTHING6, gateway=GATEWAY6) in plan.routes
    assert Announcement(Side.POD, "eth0", ip_address("fd00:10::19")) in plan.announcements


def test_the_result_says_what_upstreams_ipvlan_says() -> None:
    assert ipvlan.result(call()) == Result(
        interfaces=(Interface("eth0", UPLINK.mac, 1442, POD.netns),),
        ips=(IPConfig(V4.address, GATEWAY, interface=0),),
        routes=LEASE.routes,
    )


@pytest.mark.parametrize(
    ("options", "network", "nic", "mtu", "notes"),
    [
        ({}, 1442, 1500, 1442, 0),
        ({}, None, 1500, 1500, 0),
        ({"mtu": 1400}, 1442, 1500, 1400, 0),
        ({"mtu": 0}, 1442, 1500, 1442, 0),
        ({}, 9000, 1500, 1500, 1),
    ],
)
def test_the_mtu_is_the_networks_and_never_above_the_parents(
    options: dict[str, int], network: int | None, nic: int, mtu: int, notes: int
) -> None:
    facts = replace(FACTS, uplink=replace(UPLINK, mtu=nic))
    plan = ipvlan.plan(call(replace(LEASE, mtu=network), facts, options=options))
    (link,) = plan.links
    assert isinstance(link, Ipvlan)
    assert link.mtu == mtu
    assert len(plan.notes) == notes


def test_host_routes_of_the_subnet_go_by_the_link() -> None:
    near = Route(ip_network("10.50.0.0/16"), ip_address("10.10.10.99"))
    far = Route(ip_network("10.60.0.0/16"), ip_address("10.20.20.1"))
    plan = ipvlan.plan(call(replace(LEASE, routes=(*LEASE.routes, near, far))))
    assert plan.routes[1:] == (
        LinkRoute(Side.POD, "eth0", near.destination, gateway=near.gateway),
        LinkRoute(Side.POD, "eth0", far.destination, gateway=far.gateway, onlink=True),
    )


def test_two_subnets_bring_one_default_route() -> None:
    second = LeasedAddress(ip_interface("10.20.20.7/24"), ip_address("10.20.20.1"))
    routes = (*LEASE.routes, Route(EVERYTHING, second.gateway))
    plan = ipvlan.plan(call(replace(LEASE, addresses=(V4, second), routes=routes)))
    assert plan.routes == (LinkRoute(Side.POD, "eth0", EVERYTHING, gateway=GATEWAY),)


def test_a_further_network_leaves_the_default_route_alone_and_answers_by_its_own_link() -> None:
    plan = ipvlan.plan(call(inside=PodFacts(defaults=frozenset({4}))))
    table = metric_of(POD)
    assert plan.routes == (
        LinkRoute(Side.POD, "eth0", ip_network("10.10.10.0/24"), scope="link", table=table),
        LinkRoute(Side.POD, "eth0", EVERYTHING, gateway=GATEWAY, table=table),
    )
    assert plan.rules == (Rule(Side.POD, 4, 1101, table, source=ip_network("10.10.10.19/32")),)
    assert ipvlan.result(call(inside=PodFacts(defaults=frozenset({4})))).routes == ()


def test_an_address_of_a_link_that_lost_its_default_route_goes_on_to_send_by_it() -> None:
    """As Multus has it: `default-route` takes the first network's away before this ADD."""
    gateway, address = ip_address("169.254.1.1"), ip_address("10.7.0.9")
    other = OtherLink("eth0", 2, gateway, (address,))
    plan = ipvlan.plan(call(inside=PodFacts(others=(other,))))
    (rule,) = plan.rules
    assert rule.source == ip_network(address)
    own, theirs = plan.routes
    assert (own.destination, own.gateway, own.table) == (EVERYTHING, GATEWAY, MAIN_TABLE)
    assert (theirs.link, theirs.gateway, theirs.table) == ("eth0", gateway, rule.table)


def test_a_network_may_be_a_further_one_for_one_ip_version_only() -> None:
    plan = ipvlan.plan(call(DUAL, inside=PodFacts(defaults=frozenset({4}))))
    assert [rule.version for rule in plan.rules] == [4]
    everything = [r for r in plan.routes if not r.destination.prefixlen]
    assert [(r.destination.version, r.table == metric_of(POD)) for r in everything] == [
        (6, False),
        (4, True),
    ]


def test_what_is_left_of_a_further_network_are_its_rules_too() -> None:
    (rule,) = ipvlan.leftovers(Leftover("net1", POD, LEASE)).rules
    assert rule == Rule(Side.POD, 4, 1101, ANY_TABLE, source=ip_network("10.10.10.19/32"))


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_a_further_network_of_layer_3_is_refused(mode: str) -> None:
    with pytest.raises(CniError, match=f"mode {mode}: the pod has another network") as caught:
        ipvlan.plan(call(inside=PodFacts(defaults=frozenset({4})), options={"mode": mode}))
    assert caught.value.code == Code.INVALID_CONFIG


def test_a_second_default_route_that_is_asked_for_is_a_conflict() -> None:
    with pytest.raises(CniError, match="already has a default route") as caught:
        ipvlan.plan(call(inside=PodFacts(defaults=frozenset({4})), options={"defaultRoute": True}))
    assert caught.value.code == Code.CONFLICT


def test_a_link_of_layer_2_answers_itself() -> None:
    assert ipvlan.plan(call()).proxies == ipvlan.answers(Config(), LEASE, FACTS) == ()


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_a_link_that_asks_for_no_neighbour_is_answered_for_by_its_parent(mode: str) -> None:
    """The article's neighbour entries that expire: the node answers instead, and says so itself."""
    plan = ipvlan.plan(call(options={"mode": mode}))
    assert plan.proxies == (ProxyNeighbour(Side.HOST, "ens3", ip_address("10.10.10.19")),)
    assert plan.announcements == (Announcement(Side.HOST, "ens3", ip_address("10.10.10.19")),)
    config = msgspec.convert({"mode": mode}, Config)
    assert ipvlan.answers(config, LEASE, FACTS) == plan.proxies
    (note,) = plan.notes
    assert note.startswith(f"mode {mode}:")
    assert ipvlan.remarks(msgspec.convert({"mode": mode}, Config), FACTS) == [note]


@pytest.mark.parametrize(
    ("uplink", "options", "words"),
    [
        (replace(UPLINK, up=False), {"master": "ens3"}, "master ens3 is down"),
        (replace(UPLINK, master="br0"), {"master": "ens3"}, "master ens3 is a port of br0"),
        (replace(UPLINK, macvlans=("m0",)), {"hostInterface": "ens3"}, "has macvlan children"),
        (UPLINK, {"master": "ens3", "mtu": 1501}, "mtu 1501 is above that of ens3, 1500 bytes"),
    ],
)
def test_a_nic_that_can_have_no_children_is_refused_before_an_address_is_taken(
    uplink: Uplink | None, options: dict[str, object], words: str
) -> None:
    with pytest.raises(CniError, match=words) as caught:
        ipvlan.refuse(msgspec.convert(options, Config), replace(FACTS, uplink=uplink))
    assert caught.value.code == Code.INVALID_CONFIG
    assert caught.value.details


@pytest.mark.parametrize("uplink", [None, replace(UPLINK, macvlans=("m0",))])
def test_a_nic_that_nobody_names_is_judged_once_the_lease_tells_which_it_is(
    uplink: Uplink | None,
) -> None:
    """Until then it is the default route's, which need not be that of the pods' port."""
    facts = replace(FACTS, uplink=uplink)
    ipvlan.refuse(Config(), facts)
    with pytest.raises(CniError, match=r"master is not set|has macvlan children"):
        ipvlan.plan(call(facts=facts))


def test_a_kernel_without_ipvlan_is_named() -> None:
    with pytest.raises(CniError, match="this kernel has no ipvlan") as caught:
        ipvlan.refuse(Config(), replace(FACTS, ipvlan=False))
    assert caught.value.code == Code.KERNEL


def test_a_mac_that_the_runtime_asks_for_is_refused() -> None:
    with pytest.raises(CniError, match="the requested MAC"):
        ipvlan.plan(replace(call(), mac="02:00:00:00:00:09"))


@pytest.mark.parametrize(
    "options",
    [{"mode": "l4"}, {"mtu": 40}, {"master": "ens3", "hostInterface": "ens4"}, {"master": 3}],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)


def test_what_is_left_is_found_by_the_attachment_alone() -> None:
    (link,) = ipvlan.leftovers(Leftover("net1", POD)).links
    assert isinstance(link, Ipvlan)
    assert (link.pod_name, link.alias) == ("eth0", ALIAS)

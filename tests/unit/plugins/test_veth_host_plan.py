"""veth-host's plans and results, compared as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from neutron_cni.netlink.combine import combined
from neutron_cni.netlink.facts import HostFacts, PodFacts
from neutron_cni.netlink.plan import (
    LinkAddress,
    LinkRoute,
    Neighbour,
    NodeSource,
    Plan,
    ReturnMark,
    Rule,
    Side,
    VethPair,
)
from neutron_cni.plugins import ipvlan, veth_host
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.plugins.veth_host import Config
from neutron_cni.plugins.veth_pair import host_link_name, pod_mac
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Interface, IPConfig, Result
from tests.support.attachments import POD, UPLINK, V4, V6, call_of

IP, IP6 = ip_address("10.10.10.19"), ip_address("fd00:10::19")
NODE, OTHER, NODE6 = ip_address("10.10.10.8"), ip_address("172.17.0.1"), ip_address("fd00:10::8")
NEXT, NEXT6 = ip_address("169.254.1.1"), ip_address("fe80::1")
SERVICES = {"serviceCIDRs": ["10.96.0.0/12", "fd96::/112"]}
LEASE = Lease((V4,))
DUAL = Lease((V4, V6))
NIC = replace(UPLINK, mtu=1442)
FACTS = HostFacts(uplink=NIC, ipvlan=True, addresses=(NODE, OTHER, NODE6))


def call(
    lease: Lease = LEASE,
    facts: HostFacts = FACTS,
    inside: PodFacts | None = None,
    options: Mapping[str, object] | None = None,
) -> Call[Config]:
    return call_of(Config, {**SERVICES, **(options or {})}, lease, facts, inside)


def pair(plan: Plan) -> VethPair:
    (link,) = plan.links
    assert isinstance(link, VethPair)
    return link


def destinations(plan: Plan) -> list[str]:
    """What the pod reaches by its node, next hops and the table for answers left out."""
    return [
        str(route.destination)
        for route in plan.routes
        if route.side is Side.POD and route.source is not None
    ]


def test_the_veth_has_names_and_macs_of_its_own() -> None:
    link = pair(veth_host.plan(call()))
    assert link.pod_name == "veth0"
    assert link.host_name.startswith("vethh")
    assert len(link.host_name) == 15
    assert link.alias == "neutron-cni net1 c0ffee eth0 veth-host"
    assert link.mtu == 1442
    assert (link.host_name, link.pod_mac) != (host_link_name(POD), pod_mac(POD))


def test_the_pod_reaches_services_its_node_and_the_hosts_link_local_services() -> None:
    plan = veth_host.plan(call())
    assert destinations(plan) == [
        "10.96.0.0/12",
        "169.254.169.254/32",
        "169.254.20.10/32",
        "10.10.10.8/32",
        "172.17.0.1/32",
    ]
    assert all(item.gateway == NEXT for item in plan.routes if item.source is not None)
    assert all(item.source == IP for item in plan.routes if item.source is not None)


def test_an_address_of_the_node_that_is_a_services_needs_no_route_of_its_own() -> None:
    """A node with IPVS has the address of every service on a dummy link."""
    facts = replace(FACTS, addresses=(NODE, ip_address("10.96.0.1"), ip_address("10.96.0.10")))
    assert destinations(veth_host.plan(call(facts=facts)))[-1] == "10.10.10.8/32"


def test_nobody_asks_by_arp_and_what_came_by_the_veth_is_answered_by_it() -> None:
    plan = veth_host.plan(call())
    link = pair(plan)
    assert plan.neighbours == (
        Neighbour(Side.HOST, link.host_name, IP, link.pod_mac),
        Neighbour(Side.POD, "veth0", NEXT, "ee:ee:ee:ee:ee:ee"),
    )
    assert LinkRoute(Side.HOST, link.host_name, ip_network(IP)) in plan.routes
    assert plan.filters == (
        ReturnMark(4, "veth0", veth_host.RETURN_MARK),
        NodeSource(4, "vethh", veth_host.NODE_MARK),
    )
    (rule,) = plan.rules
    everything = ip_network("0.0.0.0/0")
    assert rule == Rule(Side.POD, 4, 1090, 110, mark=veth_host.RETURN_MARK)
    assert LinkRoute(Side.POD, "veth0", everything, gateway=NEXT, table=110) in plan.routes


def test_redirected_packets_have_an_address_to_go_to() -> None:
    (own,) = veth_host.plan(call()).addresses
    assert own == LinkAddress(Side.POD, "veth0", ip_interface("169.254.1.2/32"))


def test_a_pod_of_both_versions_has_all_of_it_twice() -> None:
    plan = veth_host.plan(call(DUAL, replace(FACTS, force_forwarding=True)))
    assert {item.version for item in plan.filters} == {4, 6}
    assert {item.version for item in plan.rules} == {4, 6}
    assert "fd96::/112" in destinations(plan)
    assert "fd00:10::8/128" in destinations(plan)
    assert Neighbour(Side.POD, "veth0", NEXT6, "ee:ee:ee:ee:ee:ee") in plan.neighbours
    assert Neighbour(Side.HOST, pair(plan).host_name, IP6, pair(plan).pod_mac) in plan.neighbours


def test_reverse_path_filters_let_in_what_is_answered_by_the_other_link() -> None:
    settings = {item.key: item.value for item in veth_host.plan(call()).sysctls}
    assert settings["net/ipv4/conf/veth0/rp_filter"] == "2"
    assert settings["net/ipv4/conf/eth0/rp_filter"] == "2"


def test_the_result_is_what_was_before_and_the_veths_ends() -> None:
    before = Result(
        interfaces=(Interface("eth0", "fa:16:3e:00:00:08", 1442, POD.netns),),
        ips=(IPConfig(ip_interface("10.10.10.19/24"), interface=0),),
    )
    link = pair(veth_host.plan(call()))
    assert veth_host.result(replace(call(), before=before)) == replace(
        before,
        interfaces=(
            *before.interfaces,
            Interface(link.host_name, "ee:ee:ee:ee:ee:ee", 1442),
            Interface("veth0", link.pod_mac, 1442, POD.netns),
        ),
    )


def test_a_further_network_gets_nothing_and_check_knows_which_is_which() -> None:
    other = PodFacts(defaults=frozenset({4}))
    assert veth_host.plan(call(inside=other)) == Plan()
    assert veth_host.result(call(inside=other)) == Result()
    answered = replace(other, answered=frozenset({"eth0", "veth0"}))
    assert veth_host.plan(call(inside=answered)) == veth_host.plan(call())


def test_a_pod_with_a_second_leg_of_another_network_gets_no_further_one() -> None:
    """Whatever IP versions the two have, and whatever default routes."""
    other = PodFacts(node_ends=("neutron-cni net0 c0ffee eth9 veth-host", "somebody's"))
    assert veth_host.plan(call(inside=other)) == Plan()
    assert veth_host.leftovers(Leftover("net1", POD, inside=other)) == Plan()
    for alias in ("net0 c0ffee eth0 veth-host", "net0 c0ffee eth9", "net0 bad eth9 veth-host"):
        own = PodFacts(node_ends=(f"neutron-cni {alias}",))
        assert veth_host.plan(call(inside=own)) == veth_host.plan(call())
        assert veth_host.leftovers(Leftover("net1", POD, inside=own)).links


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"serviceCIDRs": []}, "serviceCIDRs is missing"),
        ({"serviceCIDRs": ["10.10.0.0/16"]}, "serviceCIDRs has 10.10.0.0/16, which overlaps"),
        ({"serviceCIDRs": ["10.10.10.8/32"]}, "overlaps a subnet on the node's NIC"),
        ({"hostStackCIDRs": ["10.10.10.0/30"]}, "hostStackCIDRs has 10.10.10.0/30"),
    ],
)
def test_networks_that_are_others_are_refused_before_an_address_is_taken(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(CniError, match=words) as caught:
        veth_host.refuse(call(options=options).config, FACTS)
    assert caught.value.code == Code.INVALID_CONFIG


def test_services_that_overlap_the_pods_subnet_are_refused() -> None:
    lease = Lease((LeasedAddress(ip_interface("10.100.0.9/24")),))
    with pytest.raises(CniError, match="overlaps the pod's subnet"):
        veth_host.plan(call(lease))


def test_a_virtual_ip_of_the_pods_subnet_is_reached_by_the_node_but_never_the_gateway() -> None:
    lease = Lease((LeasedAddress(ip_interface("10.10.10.9/24"), ip_address("10.10.10.1")),))
    wanted = {"hostStackCIDRs": ["10.10.10.200/32"]}
    assert "10.10.10.200/32" in destinations(veth_host.plan(call(lease, options=wanted)))
    with pytest.raises(CniError, match="overlaps the pod's gateway"):
        veth_host.plan(call(lease, options={"hostStackCIDRs": ["10.10.10.1/32"]}))


def test_an_address_that_the_node_has_on_any_link_is_refused() -> None:
    lease = Lease((LeasedAddress(ip_interface("172.17.0.1/32")),))
    with pytest.raises(CniError, match="the node itself holds") as caught:
        veth_host.plan(call(lease))
    assert caught.value.code == Code.CONFLICT


@pytest.mark.parametrize(
    "options",
    [
        {"serviceCIDRs": ["10.96.0.1/12"]},
        {"serviceCIDRs": ["0.0.0.0/0"]},
        {"serviceCIDRs": "10.96.0.0/12"},
        {"hostStackCIDRs": ["metadata"]},
        {"vethName": "a/b"},
        {"vethName": ""},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**SERVICES, **options}, Config)


def test_what_is_left_is_found_by_the_attachment_alone() -> None:
    gone = veth_host.leftovers(Leftover("net1", POD))
    assert pair(gone).host_name == pair(veth_host.plan(call())).host_name
    assert {item.version for item in gone.rules} == {4, 6}


def test_both_pages_of_neutron_ipvlan_add_up() -> None:
    own = veth_host.plan(call())
    main = ipvlan.plan(Call("net1", POD, ipvlan.Config(), LEASE, FACTS))
    both = combined(main, own)
    assert both.links == main.links + own.links
    assert both.routes == main.routes + own.routes

"""host-device-plus's page: plans, results and refusals as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from neutron_cni.netlink.facts import HostFacts, PodFacts
from neutron_cni.netlink.nics import Memory, Nic, Place, Selector
from neutron_cni.netlink.plan import (
    ANY_TABLE,
    Announcement,
    LinkAddress,
    LinkRoute,
    MovedLink,
    Plan,
    Rule,
    Side,
    Sysctl,
)
from neutron_cni.plugins import host_device
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.plugins.host_device import Config
from neutron_cni.plugins.veth_pair import metric_of
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, IPConfig, Result, Route
from tests.support.attachments import GATEWAY, GATEWAY6, POD, UPLINK, V4, V6, call_of

EVERYTHING, EVERYTHING6 = ip_network("0.0.0.0/0"), ip_network("::/0")
LEASE = Lease((V4,), routes=(Route(EVERYTHING, GATEWAY),), mtu=1442)
DUAL = replace(LEASE, addresses=(V4, V6), routes=(*LEASE.routes, Route(EVERYTHING6, GATEWAY6)))
NIC = Nic(4, "ens4", "fa:16:3e:00:00:44", 1500, up=True, max_mtu=9000, pci="0000:00:05.0")
FACTS = HostFacts(uplink=UPLINK, nics=(NIC,))
ALIAS = "neutron-cni net1 c0ffee eth0 host-device"
MEMORY = Memory("ens4", NIC.mac, 1500, up=True)


def call(
    lease: Lease = LEASE,
    nic: Nic = NIC,
    inside: PodFacts | None = None,
    options: Mapping[str, object] | None = None,
) -> Call[Config]:
    facts = replace(FACTS, nics=(nic,))
    return call_of(Config, {"device": "ens4", **(options or {})}, lease, facts, inside)


def test_the_whole_plan_of_a_pod() -> None:
    assert host_device.plan(call()) == Plan(
        links=(MovedLink("eth0", ALIAS, NIC, 1442),),
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


def test_the_result_has_the_nic_with_its_own_mac() -> None:
    assert host_device.result(call()) == Result(
        interfaces=(Interface("eth0", NIC.mac, 1442, POD.netns),),
        ips=(IPConfig(V4.address, GATEWAY, interface=0),),
        routes=LEASE.routes,
    )


@pytest.mark.parametrize(
    ("options", "network", "most", "mtu", "notes"),
    [
        ({}, 1442, 9000, 1442, 0),
        ({}, 8950, 9000, 8950, 0),
        ({}, None, 9000, 1500, 0),
        ({"mtu": 1400}, 1442, 9000, 1400, 0),
        ({"mtu": 0}, 1442, 9000, 1442, 0),
        ({}, 8950, 1500, 1500, 1),
        ({}, 8950, 0, 8950, 0),
    ],
)
def test_the_mtu_is_the_networks_as_far_as_the_nic_can_do_it(
    options: dict[str, int], network: int | None, most: int, mtu: int, notes: int
) -> None:
    plan = host_device.plan(
        call(replace(LEASE, mtu=network), replace(NIC, max_mtu=most), options=options)
    )
    (link,) = plan.links
    assert isinstance(link, MovedLink)
    assert link.mtu == mtu
    assert len(plan.notes) == notes


def test_an_mtu_that_the_nic_can_not_do_is_refused_before_an_address_is_taken() -> None:
    config = Config(device="ens4", mtu=9001)
    with pytest.raises(CniError, match="mtu 9001 is above what the NIC ens4 can do, 9000 bytes"):
        host_device.refuse(config, FACTS)


def test_addresses_that_the_nic_had_are_told() -> None:
    had = (ip_interface("10.20.0.5/24"),)
    (note,) = host_device.plan(call(nic=replace(NIC, addresses=had))).notes
    assert note.startswith("the NIC ens4 had 10.20.0.5/24 on the node")


def test_the_nic_may_have_had_the_pods_address() -> None:
    """As a NIC that DHCP configures before it is given away."""
    nic = replace(NIC, addresses=(V4.address,))
    facts = HostFacts(
        uplink=replace(UPLINK, name="ens4", mac=NIC.mac, addresses=(V4.address,)),
        addresses=(V4.address.ip,),
        nics=(nic,),
    )
    host_device.plan(replace(call(), facts=facts))


def test_an_address_that_another_nic_of_the_node_has_is_a_conflict() -> None:
    facts = replace(FACTS, addresses=(V4.address.ip,))
    with pytest.raises(CniError, match="the node itself holds") as caught:
        host_device.plan(replace(call(), facts=facts))
    assert caught.value.code == Code.CONFLICT


def test_a_further_network_leaves_the_default_route_alone_and_answers_by_its_own_link() -> None:
    further = call(DUAL, inside=PodFacts(defaults=frozenset({4})))
    plan = host_device.plan(further)
    table = metric_of(POD)
    assert plan.rules == (Rule(Side.POD, 4, 1101, table, source=ip_network("10.10.10.19/32")),)
    assert LinkRoute(Side.POD, "eth0", EVERYTHING, gateway=GATEWAY, table=table) in plan.routes
    assert LinkRoute(Side.POD, "eth0", EVERYTHING6, gateway=GATEWAY6) in plan.routes
    assert host_device.result(further).routes == (Route(EVERYTHING6, GATEWAY6),)


def test_a_second_default_route_that_is_asked_for_is_a_conflict() -> None:
    with pytest.raises(CniError, match="already has a default route"):
        host_device.plan(
            call(inside=PodFacts(defaults=frozenset({4})), options={"defaultRoute": True})
        )


def test_a_nic_that_is_in_the_pod_already_is_planned_as_before() -> None:
    own = replace(NIC, name="eth0", mtu=1442, alias=ALIAS, memory=MEMORY, place=Place.OWN)
    (link,) = host_device.plan(call(replace(LEASE, mtu=None), own)).links
    assert link == MovedLink("eth0", ALIAS, own, 1500)
    host_device.refuse(Config(device="ens4"), replace(FACTS, nics=(own,)))


def test_at_check_the_answer_of_add_tells_which_nic_it_is() -> None:
    facts = replace(FACTS, nics=())
    plan = host_device.plan(replace(call(), facts=facts, inside=PodFacts(answered=frozenset("x"))))
    assert plan.links == (MovedLink("eth0", ALIAS),)


def test_what_is_left_is_found_by_the_attachment_alone() -> None:
    assert host_device.leftovers(Leftover("net1", POD)) == Plan(links=(MovedLink("eth0", ALIAS),))


def test_what_is_left_of_a_further_network_are_its_rules_too() -> None:
    (rule,) = host_device.leftovers(Leftover("net1", POD, LEASE)).rules
    assert rule == Rule(Side.POD, 4, 1101, ANY_TABLE, source=ip_network("10.10.10.19/32"))


def test_another_mac_than_the_nics_is_refused() -> None:
    host_device.plan(replace(call(), mac=NIC.mac))
    with pytest.raises(CniError, match="the requested MAC") as caught:
        host_device.plan(replace(call(), mac="02:00:00:00:00:09"))
    assert caught.value.code == Code.UNSUPPORTED_FIELD


REFUSED = [
    ((), Code.INVALID_CONFIG, "the node has no NIC ens4"),
    ((replace(NIC, defaults=frozenset({4})),), Code.INVALID_CONFIG, "default route (IPv4)"),
    ((replace(NIC, master="bond0"),), Code.INVALID_CONFIG, "is a port of bond0"),
    ((replace(NIC, children=("ens4.7",)),), Code.INVALID_CONFIG, "has links upon it (ens4.7)"),
    ((replace(NIC, name="ens3"),), Code.INVALID_CONFIG, "the NIC ens3 is the node's own"),
    ((NIC, replace(NIC, name="ens5")), Code.CONFLICT, "2 NICs ens4: ens4, ens5"),
    (
        (replace(NIC, alias=ALIAS, memory=MEMORY, place=Place.OTHER, netns="/run/netns/x"),),
        Code.TRY_AGAIN,
        "in another pod: it is eth0 of container c0ffee (network net1), in /run/netns/x",
    ),
    (
        (replace(NIC, name="eth0", alias=ALIAS, memory=MEMORY, place=Place.OTHER),),
        Code.TRY_AGAIN,
        "the NIC ens4 is eth0 of container c0ffee (network net1), whose namespace is gone",
    ),
    (
        (replace(NIC, kind="veth", alias=ALIAS, place=Place.OTHER),),
        Code.INVALID_CONFIG,
        "is one that neutron-cni made",
    ),
]


@pytest.mark.parametrize(("nics", "code", "words"), REFUSED)
def test_what_can_not_be_given_away_is_refused_before_an_address_is_taken(
    nics: tuple[Nic, ...], code: Code, words: str
) -> None:
    with pytest.raises(CniError) as caught:
        host_device.refuse(Config(device="ens4"), replace(FACTS, nics=nics))
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.details


def test_a_configuration_that_names_no_nic_is_refused() -> None:
    assert host_device.asks(Config()).nic is None
    with pytest.raises(CniError, match="device is missing") as caught:
        host_device.refuse(Config(), FACTS)
    assert caught.value.code == Code.INVALID_CONFIG


def test_a_bond_with_the_mac_of_its_nic_is_not_taken_for_it() -> None:
    bond = replace(NIC, name="bond0", kind="bond")
    facts = replace(FACTS, nics=(bond, NIC))
    host_device.refuse(Config(mac=NIC.mac), facts)


def function(index: int, **changes: object) -> Nic:
    return replace(NIC, index=index, name=f"ens1f0v{index}", function_of="ens1f0", **changes)  # type: ignore[arg-type]


def test_pods_spread_over_the_virtual_functions_that_are_free() -> None:
    config = Config(net_vfs=("ens1f0",))
    busy = function(1, alias=ALIAS, memory=MEMORY, place=Place.OTHER)
    facts = replace(FACTS, nics=(busy, function(2), function(3), function(4, master="br0")))
    taken = set()
    for number in range(20):
        pod = replace(POD, container_id=f"pod{number}")
        made = replace(call(), config=config, facts=facts, attachment=pod)
        (link,) = host_device.plan(made).links
        assert isinstance(link, MovedLink)
        assert link.nic is not None
        taken.add(link.nic.name)
        assert host_device.result(made).interfaces[0].name == "eth0"
    assert taken == {"ens1f0v2", "ens1f0v3"}


def test_no_virtual_function_is_free() -> None:
    busy = function(1, alias=ALIAS, memory=MEMORY, place=Place.OTHER)
    with pytest.raises(CniError, match="no virtual function of ens1f0 that is free") as caught:
        host_device.refuse(Config(net_vfs=("ens1f0",)), replace(FACTS, nics=(busy,)))
    assert caught.value.code == Code.EXHAUSTED


@pytest.mark.parametrize(
    "options",
    [
        {"device": "ens4", "mac": "fa:16:3e:00:00:44"},
        {"device": ""},
        {"device": "a/b"},
        {"device": "lo"},
        {"device": "a-name-of-16-bytes"},
        {"device": 4},
        {"mac": "fa:16:3e:00:00"},
        {"pciBusID": "00:05.0"},
        {"netVFs": []},
        {"netVFs": ["x y"]},
        {"netVFs": "ens1f0"},
        {"device": "ens4", "mtu": 40},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Config)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"device": "ens4"}, Selector(name="ens4")),
        ({"mac": "FA:16:3E:00:00:44"}, Selector(mac="fa:16:3e:00:00:44")),
        ({"pciBusID": "0000:00:05.0"}, Selector(pci="0000:00:05.0")),
        ({"netVFs": ["ens1f0", "ens1f1"]}, Selector(functions=("ens1f0", "ens1f1"))),
    ],
)
def test_each_option_means_the_nic(options: dict[str, object], wanted: Selector) -> None:
    assert host_device.asks(msgspec.convert(options, Config)).nic == wanted
    meant = function(2) if wanted.functions else NIC
    other = Nic(9, "ens9", "02:00:00:00:00:01", 1500, pci="0000:00:09.0")
    assert [wanted.fits(nic) for nic in (meant, other)] == [True, False]

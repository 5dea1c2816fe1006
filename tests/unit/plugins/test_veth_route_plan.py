"""veth-route's plans, compared as values: no root, no kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

import msgspec
import pytest

from neutron_cni.netlink.facts import ForwardDrop, HostFacts, PodFacts, Uplink
from neutron_cni.netlink.plan import (
    Announcement,
    Dummy,
    LinkAddress,
    LinkRoute,
    Neighbour,
    Plan,
    ProxyNeighbour,
    Side,
    Sysctl,
    VethPair,
)
from neutron_cni.plugins import forwarding, ownership, veth_route
from neutron_cni.plugins.contract import Call, Leftover
from neutron_cni.plugins.ownership import Owner
from neutron_cni.plugins.veth_pair import GATEWAY_MAC, host_link_name, metric_of, pod_mac
from neutron_cni.plugins.veth_route import Config
from neutron_cni.plugins.veth_route_config import Destination
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Dns, Interface, IPConfig, Route

POD = Attachment("c0ffee", "eth0", "/run/netns/pod")
LINK = host_link_name(POD)
MAC = pod_mac(POD)
IP = ip_address("10.10.10.19")
IP6 = ip_address("fd00:10::19")
GATEWAY = IPv4Address("169.254.1.1")
GATEWAY6 = IPv6Address("fe80::1")
LEASE = Lease((LeasedAddress(ip_interface("10.10.10.19/24"), ip_address("10.10.10.1")),), mtu=1442)
DUAL = replace(LEASE, addresses=(*LEASE.addresses, LeasedAddress(ip_interface("fd00:10::19/64"))))
UPLINK = Uplink(
    name="ens3",
    mac="fa:16:3e:00:00:08",
    mtu=1500,
    addresses=(ip_interface("10.10.10.8/24"), ip_interface("fd00:10::8/64")),
    onlink=(ip_network("10.10.10.0/24"), ip_network("fd00:10::/64")),
    accept_ra=1,
)
FACTS = HostFacts(uplink=UPLINK, dummy=True, ipv6=True, force_forwarding=True)
CONFIG = Config()
PAIR = VethPair(
    LINK,
    "eth0",
    GATEWAY_MAC,
    MAC,
    "neutron-cni net1 c0ffee eth0 veth-route",
    earlier_aliases=("neutron-cni net1 c0ffee eth0",),
)


def plan(attachment: Attachment, lease: Lease, facts: HostFacts, config: Config) -> Plan:
    """The page's plan for the network "net1"."""
    return veth_route.plan(Call("net1", attachment, config, lease, facts))


def settings(made: Plan, side: Side = Side.HOST) -> dict[str, str]:
    """The sysctls of one side as key: value."""
    return {item.key: item.value for item in made.sysctls if item.side is side}


def test_the_whole_plan_of_an_ipv4_pod() -> None:
    made = plan(POD, LEASE, FACTS, CONFIG)

    assert made == Plan(
        links=(replace(PAIR, mtu=1442), Dummy("dummy0")),
        addresses=(
            LinkAddress(Side.HOST, "dummy0", ip_interface("169.254.1.1/32")),
            LinkAddress(Side.POD, "eth0", ip_interface("10.10.10.19/24"), prefix_route=False),
        ),
        routes=(
            LinkRoute(Side.HOST, LINK, ip_network("10.10.10.19/32"), scope="global"),
            LinkRoute(Side.POD, "eth0", ip_network("169.254.1.1/32"), scope="link"),
            LinkRoute(Side.POD, "eth0", ip_network("0.0.0.0/0"), gateway=GATEWAY),
        ),
        neighbours=(
            Neighbour(Side.HOST, LINK, IP, MAC, permanent=False),
            Neighbour(Side.POD, "eth0", GATEWAY, "ee:ee:ee:ee:ee:ee"),
        ),
        proxies=(ProxyNeighbour(Side.HOST, "ens3", IP),),
        sysctls=(
            Sysctl(Side.HOST, f"net/ipv4/conf/{LINK}/forwarding", "1"),
            Sysctl(Side.HOST, f"net/ipv4/conf/{LINK}/rp_filter", "1", as_good=("2",)),
            Sysctl(Side.HOST, f"net/ipv4/conf/{LINK}/accept_redirects", "0"),
            Sysctl(Side.HOST, f"net/ipv4/conf/{LINK}/proxy_arp", "1", checked=False),
            Sysctl(Side.HOST, f"net/ipv4/neigh/{LINK}/proxy_delay", "0", checked=False),
            Sysctl(Side.HOST, f"net/ipv6/conf/{LINK}/disable_ipv6", "1", required=False),
            Sysctl(Side.HOST, "net/ipv4/conf/ens3/forwarding", "1"),
            Sysctl(Side.HOST, "net/ipv4/neigh/ens3/proxy_delay", "0"),
            Sysctl(Side.POD, "net/ipv4/conf/eth0/arp_notify", "1", checked=False),
            Sysctl(Side.POD, "net/ipv6/conf/eth0/disable_ipv6", "1", required=False),
        ),
        announcements=(Announcement(Side.HOST, "ens3", IP),),
    )


def test_a_dual_stack_pod_has_each_thing_in_ipv6_too() -> None:
    made, v4 = plan(POD, DUAL, FACTS, CONFIG), plan(POD, LEASE, FACTS, CONFIG)

    assert set(made.addresses) - set(v4.addresses) == {
        LinkAddress(Side.HOST, LINK, ip_interface("fe80::1/128")),
        LinkAddress(Side.POD, "eth0", ip_interface("fd00:10::19/64")),
    }
    assert set(made.routes) - set(v4.routes) == {
        LinkRoute(Side.HOST, LINK, ip_network("fd00:10::19/128")),
        LinkRoute(Side.POD, "eth0", ip_network("fe80::1/128"), scope="link"),
        LinkRoute(Side.POD, "eth0", ip_network("::/0"), gateway=GATEWAY6),
    }
    assert set(made.neighbours) - set(v4.neighbours) == {
        Neighbour(Side.HOST, LINK, IP6, MAC, permanent=False),
        Neighbour(Side.POD, "eth0", GATEWAY6, GATEWAY_MAC),
    }
    assert set(made.proxies) - set(v4.proxies) == {ProxyNeighbour(Side.HOST, "ens3", IP6)}
    keys = settings(made)
    assert keys[f"net/ipv6/conf/{LINK}/disable_ipv6"] == "0"
    assert keys[f"net/ipv6/conf/{LINK}/force_forwarding"] == "1"
    assert keys["net/ipv6/conf/ens3/proxy_ndp"] == "1"
    assert settings(made, Side.POD) == {
        "net/ipv4/conf/eth0/arp_notify": "1",
        "net/ipv6/conf/eth0/ndisc_notify": "1",
        "net/ipv6/conf/eth0/keep_addr_on_down": "1",
        "net/ipv6/conf/eth0/accept_dad": "0",
        "net/ipv6/conf/eth0/accept_ra": "0",
        "net/ipv6/conf/eth0/disable_ipv6": "0",
    }


def test_an_ipv6_only_pod_has_no_ipv4_and_no_dummy() -> None:
    lease = replace(DUAL, addresses=DUAL.addresses[1:])
    made = plan(POD, lease, FACTS, CONFIG)

    assert not any(isinstance(link, Dummy) for link in made.links)
    assert {item.destination.version for item in made.routes} == {6}
    assert {item.address.version for item in made.neighbours} == {6}
    assert "net/ipv4/conf/ens3/forwarding" not in settings(made)


def test_a_kernel_without_dummy_gets_the_neighbour_alone_and_says_so() -> None:
    made = plan(POD, LEASE, replace(FACTS, dummy=False), CONFIG)

    assert not any(isinstance(link, Dummy) for link in made.links)
    assert all(item.link != "dummy0" for item in made.addresses)
    assert Neighbour(Side.POD, "eth0", GATEWAY, GATEWAY_MAC) in made.neighbours
    assert made.notes == (
        "this kernel has no dummy device: no link has 169.254.1.1, so pods can't ping it",
    )


def test_names_and_macs_are_the_same_every_time_and_differ_between_attachments() -> None:
    others = [Attachment("c0ffee", "eth1"), Attachment("c0ffe", "eeth0"), Attachment("x", "eth0")]

    assert host_link_name(Attachment("c0ffee", "eth0", "/elsewhere")) == LINK
    assert pod_mac(Attachment("c0ffee", "eth0")) == MAC
    names = {host_link_name(item) for item in [POD, *others]}
    assert len(names) == 4
    assert len({pod_mac(item) for item in [POD, *others]}) == 4
    assert all(len(name) == 15 and name.startswith("veth") for name in names)


def test_macs_are_locally_administered_and_unicast() -> None:
    for number in range(200):
        first = int(pod_mac(Attachment(f"c{number}", "eth0"))[:2], 16)
        assert first & 0b11 == 0b10


def test_the_name_and_mac_of_a_known_attachment_never_change() -> None:
    """Nodes find links of earlier releases by them."""
    assert LINK == "veth6ad2516ced2"
    assert MAC == "32:61:60:13:e1:1d"


def test_settings_are_of_single_links_unless_the_host_is_asked_for() -> None:
    default = settings(plan(POD, DUAL, FACTS, CONFIG))
    asked = settings(plan(POD, DUAL, FACTS, Config(host_forwarding=True)))

    links = {Sysctl(Side.HOST, key, "").link for key in default}
    assert links == {LINK, "ens3"}
    assert {key: asked[key] for key in asked.keys() - default.keys()} == {
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/forwarding": "1",
    }


def test_router_advertisements_are_kept_before_the_uplink_becomes_a_router() -> None:
    keys = list(settings(plan(POD, DUAL, FACTS, CONFIG)))
    key = "net/ipv6/conf/ens3/accept_ra"

    assert keys.index(key) < keys.index("net/ipv6/conf/ens3/forwarding")
    for accept_ra in (0, None):
        facts = replace(FACTS, uplink=replace(UPLINK, accept_ra=accept_ra))
        assert key not in settings(plan(POD, DUAL, facts, CONFIG))
    router = replace(FACTS, ipv6_forwarding=True)
    assert key not in settings(plan(POD, DUAL, router, CONFIG))


def test_ipv6_without_any_way_to_forward_is_trouble() -> None:
    facts = replace(FACTS, force_forwarding=False)
    made = plan(POD, DUAL, facts, CONFIG)

    assert not [key for key in settings(made) if key.endswith("force_forwarding")]
    assert "set hostForwarding" in made.troubles[0]
    assert plan(POD, LEASE, facts, CONFIG).troubles == ()
    assert plan(POD, DUAL, facts, Config(host_forwarding=True)).troubles == ()
    assert plan(POD, DUAL, replace(facts, ipv6_forwarding=True), CONFIG).troubles == ()
    assert "set hostForwarding" in veth_route.remarks(CONFIG, facts)[0]
    assert veth_route.remarks(CONFIG, FACTS) == []


@pytest.mark.parametrize(("versions", "lease"), [((4,), LEASE), ((6,), DUAL), ((4, 6), LEASE)])
def test_a_chain_that_drops_forwarded_packets_is_noted(
    versions: tuple[int, ...], lease: Lease
) -> None:
    facts = replace(FACTS, forward_drops=(ForwardDrop("nftables ip filter FORWARD", versions),))
    (note,) = plan(POD, lease, facts, CONFIG).notes
    assert "nftables ip filter FORWARD" in note
    assert note in veth_route.remarks(CONFIG, facts)


def test_a_chain_for_the_other_ip_version_is_none_of_the_pods() -> None:
    facts = replace(FACTS, forward_drops=(ForwardDrop("nftables ip6 filter FORWARD", (6,)),))
    assert plan(POD, LEASE, facts, CONFIG).notes == ()


ELSEWHERE = Lease(
    (
        LeasedAddress(ip_interface("10.20.0.5/24"), ip_address("10.20.0.1")),
        LeasedAddress(ip_interface("fd00:20::5/64"), ip_address("fd00:20::1")),
    ),
    port_id="11111111-2222-3333-4444-555555555555",
)
"""Neutron's addresses of subnets in which the node has none."""


def test_neutrons_addresses_are_answered_for_in_whichever_subnet_they_are() -> None:
    """Nobody but the VM does with ML2/OVS: not even the pods' router would find them."""
    made = plan(POD, ELSEWHERE, FACTS, CONFIG)

    assert made.proxies == (
        ProxyNeighbour(Side.HOST, "ens3", ip_address("10.20.0.5")),
        ProxyNeighbour(Side.HOST, "ens3", ip_address("fd00:20::5")),
    )
    assert settings(made)["net/ipv4/neigh/ens3/proxy_delay"] == "0"
    assert settings(made)["net/ipv6/conf/ens3/proxy_ndp"] == "1"
    assert veth_route.answers(CONFIG, ELSEWHERE, FACTS) == made.proxies
    gone = veth_route.leftovers(Leftover("net1", POD, ELSEWHERE, FACTS))
    assert gone.proxies == made.proxies


@pytest.mark.parametrize(("mac", "count"), [(UPLINK.mac, 2), ("fa:16:3e:00:00:99", 0)])
def test_addresses_of_a_port_are_answered_for_on_its_nic_and_on_no_other(
    mac: str, count: int
) -> None:
    """Which stands in for a NIC that is gone, and may lead to another network."""
    assert len(plan(POD, replace(ELSEWHERE, nic_mac=mac), FACTS, CONFIG).proxies) == count


def test_another_ipams_addresses_are_answered_for_in_the_uplinks_subnets_only() -> None:
    elsewhere = replace(LEASE, addresses=(LeasedAddress(ip_interface("10.20.0.5/24")),))
    made = plan(POD, elsewhere, FACTS, CONFIG)

    assert made.proxies == ()
    assert "net/ipv4/neigh/ens3/proxy_delay" not in settings(made)
    assert settings(made)["net/ipv4/conf/ens3/forwarding"] == "1"


def test_without_uplink_the_pod_works_on_the_node_and_it_is_said() -> None:
    made = plan(POD, DUAL, replace(FACTS, uplink=None), CONFIG)

    assert (made.proxies, made.announcements) == ((), ())
    assert "no default route" in made.notes[0]
    assert made.links[0] == replace(PAIR, mtu=1442)


def test_what_the_node_answers_for_it_announces() -> None:
    """Whoever knows another MAC for the address, a former pod's, has to learn this one."""
    for lease in (DUAL, ELSEWHERE):
        addresses = [item.address.ip for item in lease.addresses]
        made = plan(POD, lease, FACTS, CONFIG).announcements
        assert made == tuple(Announcement(Side.HOST, "ens3", item) for item in addresses)


@pytest.mark.parametrize(
    ("configured", "leased", "uplink", "expected"),
    [
        (None, 1442, 1500, 1442),
        (None, 9000, 1500, 1500),
        (None, None, 1500, 1500),
        (None, 1442, None, 1442),
        (None, None, None, None),
        (1400, 1442, 1500, 1400),
        (8950, 1442, 1500, 8950),
    ],
)
def test_the_mtu_is_the_configured_one_or_the_smallest_known(
    configured: int | None, leased: int | None, uplink: int | None, expected: int | None
) -> None:
    known = None if uplink is None else replace(UPLINK, mtu=uplink)
    facts = replace(FACTS, uplink=known)
    made = plan(POD, replace(LEASE, mtu=leased), facts, Config(mtu=configured))

    assert made.links[0] == replace(PAIR, mtu=expected)


def test_an_address_that_the_node_holds_itself_is_refused() -> None:
    lease = replace(LEASE, addresses=(LeasedAddress(ip_interface("10.10.10.8/24")),))
    with pytest.raises(CniError, match=r"node itself holds .* 10\.10\.10\.8") as caught:
        plan(POD, lease, FACTS, CONFIG)
    assert caught.value.code == Code.CONFLICT


@pytest.mark.parametrize(
    ("facts", "config"),
    [(replace(FACTS, ipv6=False), CONFIG), (FACTS, Config(mtu=1279))],
)
def test_an_ipv6_address_that_can_not_work_is_refused(facts: HostFacts, config: Config) -> None:
    with pytest.raises(CniError) as caught:
        plan(POD, DUAL, facts, config)
    assert caught.value.code == Code.INVALID_CONFIG
    plan(POD, LEASE, facts, config)


def test_the_result_shows_both_ends_and_the_routes() -> None:
    lease = replace(DUAL, dns=Dns(nameservers=("10.10.10.2",)))
    made = veth_route.result(Call("net1", POD, CONFIG, lease, FACTS))

    assert made.interfaces == (
        Interface(LINK, GATEWAY_MAC, 1442),
        Interface("eth0", MAC, 1442, "/run/netns/pod"),
    )
    assert made.ips == (
        IPConfig(ip_interface("10.10.10.19/32"), GATEWAY, 1),
        IPConfig(ip_interface("fd00:10::19/128"), GATEWAY6, 1),
    )
    assert made.routes == (
        Route(ip_network("0.0.0.0/0"), GATEWAY),
        Route(ip_network("::/0"), GATEWAY6),
    )
    assert made.dns.nameservers == ("10.10.10.2",)


def test_a_mac_that_the_runtime_asks_for_is_the_pods_everywhere() -> None:
    mac = "02:00:00:00:00:09"
    call = Call("net1", POD, CONFIG, LEASE, FACTS, mac=mac)
    made = veth_route.plan(call)
    assert made.links[0] == replace(PAIR, mtu=1442, pod_mac=mac)
    assert Neighbour(Side.HOST, LINK, IP, mac, permanent=False) in made.neighbours
    assert veth_route.result(call).interfaces[1].mac == mac
    assert veth_route.leftovers(Leftover("net1", POD, mac=mac)).links[0] == replace(
        PAIR, pod_mac=mac
    )


FURTHER = PodFacts(defaults=frozenset({4, 6}), hosts=frozenset({GATEWAY, GATEWAY6}))
"""A pod that has another veth-route interface with the default routes."""


def ways_of(lease: Lease, config: Config, inside: PodFacts) -> list[str]:
    """The pod's routes as text."""
    made = veth_route.plan(Call("net1", POD, config, lease, FACTS, inside=inside))
    found = [item for item in made.routes if item.side is Side.POD and not item.shared]
    metric = str(metric_of(POD))
    return [
        f"{item.destination} via {item.gateway}"
        + (f" metric {item.metric}".replace(metric, "M") if item.metric else "")
        for item in found
    ]


def test_a_further_network_leaves_the_pods_default_route_alone() -> None:
    lease = replace(DUAL, routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.10.10.5")),))
    config = Config(routes=(Destination("10.8.0.0/16"), Destination("fd00:8::/64")))
    assert ways_of(lease, config, FURTHER) == [
        "169.254.1.1/32 via None metric M",
        "10.10.10.0/24 via 169.254.1.1 metric M",
        "10.9.0.0/16 via 169.254.1.1 metric M",
        "10.8.0.0/16 via 169.254.1.1 metric M",
        "fe80::1/128 via None metric M",
        "fd00:10::/64 via fe80::1 metric M",
        "fd00:8::/64 via fe80::1 metric M",
    ]
    call = Call("net1", POD, config, lease, FACTS, inside=FURTHER)
    assert [str(item.destination) for item in veth_route.result(call).routes] == [
        "10.10.10.0/24",
        "10.9.0.0/16",
        "10.8.0.0/16",
        "fd00:10::/64",
        "fd00:8::/64",
    ]


def test_a_lease_from_the_result_of_add_has_the_same_ways() -> None:
    call = Call("net1", POD, CONFIG, DUAL, FACTS, inside=FURTHER)
    again = Lease.from_result(veth_route.result(call))
    assert ways_of(again, CONFIG, FURTHER) == ways_of(DUAL, CONFIG, FURTHER)


def test_the_default_route_is_brought_in_the_ip_version_that_has_none() -> None:
    found = ways_of(DUAL, CONFIG, PodFacts(defaults=frozenset({4})))
    assert found[-2:] == ["fe80::1/128 via None", "::/0 via fe80::1"]
    assert "10.10.10.0/24 via 169.254.1.1 metric M" in found


def test_without_a_default_route_on_request_the_pod_reaches_its_subnet() -> None:
    assert ways_of(LEASE, Config(default_route=False), PodFacts()) == [
        "169.254.1.1/32 via None",
        "10.10.10.0/24 via 169.254.1.1",
    ]


def test_a_default_route_that_is_asked_for_is_not_put_beside_another() -> None:
    with pytest.raises(CniError, match="already has a default route for IPv4") as caught:
        ways_of(LEASE, Config(default_route=True), FURTHER)
    assert caught.value.code == Code.CONFLICT
    assert ways_of(LEASE, Config(default_route=True), PodFacts())[-1] == "0.0.0.0/0 via 169.254.1.1"


def test_what_is_left_over_is_found_by_its_name_alone() -> None:
    assert veth_route.leftovers(Leftover("net1", POD)) == Plan(links=(PAIR,))


def test_leftovers_with_lease_and_facts_name_what_the_link_does_not_take_along() -> None:
    made = veth_route.leftovers(Leftover("net1", POD, DUAL, FACTS))

    assert made.proxies == plan(POD, DUAL, FACTS, CONFIG).proxies
    assert [item.destination for item in made.routes] == [ip_network(IP), ip_network(IP6)]


def test_every_field_of_the_configuration_is_read_and_unknown_ones_are_left_alone() -> None:
    text = {
        "type": "veth-route",
        "mtu": 1400,
        "hostInterface": "bond0",
        "hostForwarding": True,
        "gatewayAddress": "169.254.9.9",
        "dummyName": "gw0",
    }
    config = msgspec.json.decode(json.dumps(text), type=Config)

    assert config == Config(
        mtu=1400,
        host_interface="bond0",
        host_forwarding=True,
        gateway_address="169.254.9.9",
        dummy_name="gw0",
    )
    made = plan(POD, LEASE, FACTS, config)
    assert made.links[1] == Dummy("gw0")
    assert made.routes[-1].gateway == IPv4Address("169.254.9.9")


@pytest.mark.parametrize(
    "text", ['{"mtu": 67}', '{"mtu": 65536}', '{"dummyName": ""}', '{"gatewayAddress": "x"}']
)
def test_values_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Config)


def test_an_owner_is_read_back_from_the_alias() -> None:
    owner = ownership.owner(ownership.alias("net1", POD, "veth-host"))

    assert owner == Owner("net1", Attachment("c0ffee", "eth0"), "veth-host")
    nameless = ownership.owner(ownership.alias("", POD, "veth-host"))
    assert nameless == Owner("", Attachment("c0ffee", "eth0"), "veth-host")
    for foreign in (
        "",
        "net1 c0ffee eth0",
        "neutron-cni ",
        "neutron-cni a b",
        "neutron-cni net1 c0ffee eth0 veth-route more",
        "calico net1 c0ffee eth0",
    ):
        assert ownership.owner(foreign) is None


def test_an_alias_of_before_there_were_parts_is_veth_routes() -> None:
    owner = ownership.owner("neutron-cni net1 c0ffee eth0")

    assert owner == Owner("net1", Attachment("c0ffee", "eth0"), veth_route.PART)


def test_forwarding_settings_name_the_link_in_the_right_place() -> None:
    made = forwarding.veth_sysctls("vethX", {4, 6}, FACTS)

    assert {item.link for item in made} == {"vethX"}


@pytest.mark.parametrize("address", ["10.10.10.1", "10.10.10.77"])
def test_an_address_of_the_network_is_refused_as_the_pods_gateway(address: str) -> None:
    with pytest.raises(CniError, match="in a subnet of the Neutron network") as caught:
        plan(POD, LEASE, FACTS, Config(gateway_address=address))
    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("network", ["fe80::1%eth0/128", "0.0.0.0/0", "::/0", "10.0.0.1/8", "x"])
def test_a_destination_that_is_none_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="dst must"):
        Destination(network)

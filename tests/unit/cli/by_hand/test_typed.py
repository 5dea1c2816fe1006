"""What plugins did, as commands: from what was seen before and after."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from neutron_cni.cli.by_hand.typed import Seen, attached, detached
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.plan import Rule, Side
from neutron_cni.netlink.routes import Route
from neutron_cni.netlink.scene import Scene

LO = Link(1, "lo", "00:00:00:00:00:00", 65536, False, "", "", None)
NIC = Link(2, "ens3", "fa:16:3e:00:00:01", 1450, True, "", "", None)
BRIDGE = Link(7, "cni0", "02:00:00:00:00:07", 1500, True, "", "bridge", None)
HOST = Link(5, "veth7", "ee:ee:ee:ee:ee:ee", 1450, True, "neutron-cni n c eth0", "veth", 3)
POD = Link(3, "eth0", "02:00:00:00:00:03", 1450, True, "", "veth", 5)
NETNS = "/run/netns/web"
INSIDE = "ip -n web"

EMPTY = Seen(Scene({2: NIC}), Scene({1: LO}))


def route(to: str, index: int, via: str = "", **more: object) -> Route:
    gateway = ip_address(via) if via else None
    scope = "global" if via else "link"
    made = Route(ip_network(to), index, gateway, None, scope, None, 0)
    return replace(made, **more)  # type: ignore[arg-type]


ADDRESS = ip_address("10.1.0.5")
PAIR = Seen(
    Scene(
        {2: NIC, 5: HOST},
        routes=(replace(route("10.1.0.5/32", 5), scope="global"),),
        neighbours=((5, ADDRESS, POD.mac),),
        proxies=((2, ADDRESS),),
        rules=(Rule(Side.HOST, 4, 1100, 7, ip_network("10.1.0.5/32")),),
    ),
    Scene(
        {1: replace(LO, up=True), 3: POD},
        addresses=((3, ip_interface("10.1.0.5/16")), (3, ip_interface("fe80::1/64"))),
        routes=(route("0.0.0.0/0", 3, "169.254.1.1"), route("169.254.1.1/32", 3)),
        neighbours=((3, ip_address("169.254.1.1"), HOST.mac),),
    ),
)


def test_a_veth_with_all_that_leads_to_it() -> None:
    assert attached(EMPTY, PAIR, NETNS) == [
        "ip link add veth7 address ee:ee:ee:ee:ee:ee type veth"
        " peer name eth0 address 02:00:00:00:00:03 netns web",
        "ip link set veth7 mtu 1450 alias 'neutron-cni n c eth0' up",
        f"{INSIDE} link set eth0 mtu 1450 up",
        f"{INSIDE} link set lo up",
        f"{INSIDE} addr add 10.1.0.5/16 dev eth0 noprefixroute",
        f"{INSIDE} neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
        f"{INSIDE} route add 169.254.1.1/32 dev eth0 scope link",
        f"{INSIDE} route add default via 169.254.1.1 dev eth0",
        "ip neigh add 10.1.0.5 lladdr 02:00:00:00:00:03 dev veth7 nud permanent",
        "ip route add 10.1.0.5/32 dev veth7",
        "ip neigh add proxy 10.1.0.5 dev ens3",
        "ip rule add from 10.1.0.5/32 lookup 7 priority 1100",
    ]


def test_what_other_containers_get_meanwhile_is_not_told() -> None:
    other = replace(HOST, index=9, name="veth9", peer=12)
    node = replace(
        PAIR.node,
        links={**PAIR.node.links, 9: other},
        routes=(*PAIR.node.routes, route("10.1.0.6/32", 9)),
        proxies=(*PAIR.node.proxies, (2, ip_address("10.1.0.6"))),
    )
    assert attached(EMPTY, Seen(node, PAIR.pod), NETNS) == attached(EMPTY, PAIR, NETNS)


def test_a_namespace_without_a_name_is_entered_by_its_path() -> None:
    lines = attached(EMPTY, PAIR, "/proc/77/ns/net")
    assert lines[0].endswith("netns /proc/77/ns/net")
    assert "nsenter --net=/proc/77/ns/net ip link set eth0 mtu 1450 up" in lines


def test_a_bridge_that_is_made_along_comes_first() -> None:
    host = replace(HOST, master=7, alias="")
    node = Scene({2: NIC, 5: host, 7: BRIDGE}, addresses=((7, ip_interface("10.1.0.1/16")),))
    network = ip_network("10.1.0.0/16")
    made = replace(
        PAIR.pod, routes=(Route(network, 3, None, ADDRESS, "link", None, 0, by_kernel=True),)
    )
    lines = attached(EMPTY, Seen(node, made), NETNS)
    assert lines[:3] == [
        "ip link add cni0 type bridge",
        "ip link set cni0 up",
        "ip addr add 10.1.0.1/16 dev cni0",
    ]
    assert "ip link set veth7 mtu 1450 master cni0 up" in lines
    assert f"{INSIDE} addr add 10.1.0.5/16 dev eth0" in lines
    assert not [line for line in lines if "route add 10.1.0.0/16" in line]


def test_children_of_a_nic_name_parent_and_mode() -> None:
    child = Link(3, "eth0", NIC.mac, 1450, True, "", "ipvlan", 2, ipvlan_mode=0)
    lines = attached(EMPTY, Seen(EMPTY.node, Scene({1: LO, 3: child})), NETNS)
    assert lines[0] == "ip link add link ens3 name eth0 netns web type ipvlan mode l2"
    child = replace(child, kind="macvlan", ipvlan_mode=None, macvlan_mode=4)
    lines = attached(EMPTY, Seen(EMPTY.node, Scene({1: LO, 3: child})), NETNS)
    assert lines[0] == "ip link add link ens3 name eth0 netns web type macvlan mode bridge"


SPARE = Link(4, "ens4", "fa:16:3e:00:00:04", 1450, False, "", "", None)
MOVED = replace(SPARE, name="eth0", up=True)
AT_HOME = Seen(Scene({2: NIC, 4: SPARE}), Scene({1: LO}))
AWAY = Seen(Scene({2: NIC}), Scene({1: LO, 4: MOVED}))


def test_a_nic_that_moves_is_moved_and_renamed() -> None:
    assert attached(AT_HOME, AWAY, NETNS) == [
        "ip link set ens4 netns web",
        f"{INSIDE} link set ens4 name eth0",
        f"{INSIDE} link set eth0 mtu 1450 up",
    ]


def test_a_nic_that_comes_home_is_moved_back() -> None:
    assert detached(AWAY, AT_HOME, NETNS) == [
        f"{INSIDE} link set eth0 down",
        f"{INSIDE} link set eth0 netns 1 name ens4",
    ]


def test_what_goes_along_with_a_link_is_not_deleted_by_itself() -> None:
    assert detached(PAIR, EMPTY, NETNS) == [
        f"{INSIDE} link del eth0",
        "ip neigh del proxy 10.1.0.5 dev ens3",
        "ip rule del from 10.1.0.5/32 lookup 7 priority 1100",
    ]


def test_nothing_seen_is_nothing_typed() -> None:
    assert attached(PAIR, PAIR, NETNS) == []
    assert detached(PAIR, PAIR, NETNS) == []


def test_ipv6_and_tables_are_said() -> None:
    pod = replace(
        PAIR.pod,
        routes=(
            route("fd00::/64", 3, metric=1024),
            route("::/0", 3, "fe80::1", metric=50, table=7, mtu=1400),
        ),
        rules=(Rule(Side.POD, 6, 1101, 7, ip_network("fd00::5/128"), mark=4, incoming="eth0"),),
    )
    lines = attached(EMPTY, Seen(PAIR.node, pod), NETNS)
    assert f"{INSIDE} -6 route add fd00::/64 dev eth0" in lines
    assert f"{INSIDE} -6 route add default via fe80::1 dev eth0 mtu 1400 table 7 metric 50" in lines
    assert (
        f"{INSIDE} -6 rule add from fd00::5/128 fwmark 0x4 iif eth0 lookup 7 priority 1101" in lines
    )

"""The pure parts of netlink: values, frames, comparison, and the import rule."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from neutron_cni.netlink.announce import announcement
from neutron_cni.netlink.diff import Observed, View, compare
from neutron_cni.netlink.kinds.veth import is_host_end
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.plan import (
    Dummy,
    LinkAddress,
    LinkRoute,
    Plan,
    Side,
    Sysctl,
    VethPair,
)

VETH = VethPair(
    "veth1",
    "eth0",
    "ee:ee:ee:ee:ee:ee",
    "02:00:00:00:00:01",
    "neutron-cni n c eth0 veth-route",
    earlier_aliases=("neutron-cni n c eth0",),
)
HOST_END = Link(5, "veth1", VETH.host_mac, 1500, True, VETH.alias, "veth", peer=2)


@pytest.mark.parametrize(
    "module",
    [
        "neutron_cni.netlink.plan",
        "neutron_cni.netlink.facts",
        "neutron_cni.plugins.veth_route",
        "neutron_cni.netlink.namespace",
    ],
)
def test_plans_are_built_without_importing_pyroute2(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pyroute2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plan_owns_the_links_that_it_makes() -> None:
    plan = Plan(links=(VETH, Dummy("dummy0")))

    assert plan.owns(Side.HOST, "veth1")
    assert plan.owns(Side.POD, "eth0")
    assert not plan.owns(Side.HOST, "eth0")
    assert not plan.owns(Side.HOST, "dummy0")


def test_a_plan_names_all_links_of_a_side() -> None:
    plan = Plan(
        links=(VETH, Dummy("dummy0")),
        addresses=(LinkAddress(Side.POD, "net1", ip_interface("10.0.0.1/24")),),
        routes=(LinkRoute(Side.HOST, "up0", ip_network("10.0.0.0/24")),),
    )

    assert plan.names(Side.HOST) == {"veth1", "dummy0", "up0"}
    assert plan.names(Side.POD) == {"eth0", "net1"}


@pytest.mark.parametrize(
    ("key", "link"),
    [
        ("net/ipv4/conf/eth0/forwarding", "eth0"),
        ("net/ipv6/neigh/eth0.7/proxy_delay", "eth0.7"),
        ("net/ipv4/conf/all/forwarding", "all"),
        ("net/ipv4/ip_forward", ""),
        ("kernel/a/conf/b/c", ""),
    ],
)
def test_a_sysctl_knows_its_link(key: str, link: str) -> None:
    assert Sysctl(Side.HOST, key, "1").link == link


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (HOST_END, True),
        (replace(HOST_END, alias="neutron-cni n other eth0"), False),
        (replace(HOST_END, alias=""), True),
        (replace(HOST_END, alias="", kind="bridge"), False),
        (replace(HOST_END, alias="", mac="02:00:00:00:00:05"), False),
        (replace(HOST_END, alias="neutron-cni n c eth0"), True),
        (replace(HOST_END, mac="02:00:00:00:00:05"), True),
    ],
)
def test_a_link_is_ours_by_its_alias_or_before_it_has_one_by_its_mac(
    link: Link, expected: bool
) -> None:
    assert is_host_end(link, VETH) is expected


def test_gratuitous_arp_comes_as_request_and_as_reply() -> None:
    mac = "fa:16:3e:00:00:08"
    request, reply = announcement(mac, ip_address("10.0.0.5"), router=True)

    start = "ffffffffffff" + "fa163e000008" + "0806" + "000108000604"
    sender = "fa163e000008" + "0a000005"
    assert request.hex() == start + "0001" + sender + "000000000000" + "0a000005"
    assert reply.hex() == start + "0002" + sender + sender


def test_an_unsolicited_advertisement_overrides_what_others_know() -> None:
    first, second = announcement("fa:16:3e:00:00:08", ip_address("fd00::5"), router=False)

    assert first == second
    assert first[:14].hex() == "333300000001fa163e00000886dd"
    assert first[14 + 7] == 255
    body = first[54:]
    assert body[0] == 136
    assert body[4:8].hex() == "20000000"
    assert body[8:24] == ip_address("fd00::5").packed
    assert body[24:].hex() == "0201fa163e000008"


def test_a_pod_that_can_not_be_looked_at_is_one_sentence_beside_the_nodes() -> None:
    plan = Plan(links=(VETH,))

    assert compare(plan, Observed(View(links={"veth1": HOST_END}), None, "it is gone")) == [
        "the pod can't be looked at: it is gone"
    ]
    assert compare(plan, Observed(View(), None, "it is gone")) == [
        "node: the link veth1 is missing",
        "the pod can't be looked at: it is gone",
    ]

"""Wrong networks of neutron-ipvlan and its chain: an error that names the key, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.plugin import NETWORK, call, libcni
from tests.openstack.state import snapshot
from tests.openstack.unchanged import refused_and_given_back, refused_unchanged
from tests.vm.networks import alone, ipvlan, second_leg
from tests.vm.remains import nothing_left

LINKS = """
ip link add t-port type dummy
ip link add t-bridge type bridge
ip link add t-macvlans type dummy
ip link add t-child link t-macvlans type macvlan
ip link add t-down type dummy
for name in t-port t-bridge t-macvlans t-child t-down; do ip link set $name addrgenmode none; done
ip link set t-port master t-bridge
ip link set t-port up
ip link set t-macvlans up
ip address add 10.111.0.9/32 dev eth0
ip netns add t-bad
"""
GONE = """
for name in t-port t-bridge t-child t-macvlans t-down; do ip link del $name; done
ip address del 10.111.0.9/32 dev eth0
ip netns del t-bad
true
"""
NETNS = "t-bad"


@pytest.fixture(scope="module")
def links(vms: list[Node]) -> Iterator[None]:
    """Links of a VM that can't have ipvlan children, an address beside its subnets, and a pod."""
    vms[0].exec(["sh", "-c", GONE])
    vms[0].exec(["sh", "-ec", LINKS])
    yield
    vms[0].exec(["sh", "-c", GONE])


@pytest.fixture
def node(lab: Lab, links: None, vm1: Node) -> Node:
    """The VM, without pods."""
    nothing_left(lab, vm1, NETNS)
    return vm1


MAIN = "neutron-ipvlan"


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"master": "absent0"}, 7, ("no interface 'absent0'",)),
        ({"master": "t-port"}, 7, ("master t-port is a port of t-bridge",)),
        ({"master": "t-macvlans"}, 7, ("master t-macvlans has macvlan children", "t-child")),
        ({"master": "t-down"}, 7, ("master t-down is down",)),
        ({"master": "eth0", "hostInterface": "lo"}, 7, ("master and hostInterface",)),
        ({"master": "eth0", "mtu": 9000}, 7, ("mtu 9000 is above that of eth0",)),
        ({"mtu": 10}, 7, ("mtu must be 68 to 65535",)),
        ({"mode": "l4"}, 7, ("mode", "l4")),
        ({"serviceCIDRs": []}, 7, ("serviceCIDRs is missing",)),
        ({"serviceCIDRs": ["10.96.0.0/99"]}, 7, ("serviceCIDRs must be networks",)),
        ({"serviceCIDRs": ["10.20.0.0/16"]}, 7, ("serviceCIDRs has 10.20.0.0/16", "a subnet")),
        ({"serviceCIDRs": ["10.96.0.0/12"]}, 7, ("10.96.0.0/12", "the node's own address")),
        ({"hostStackCIDRs": ["everything"]}, 7, ("hostStackCIDRs must be networks",)),
        ({"hostStackCIDRs": ["0.0.0.0/0"]}, 7, ("hostStackCIDRs must be networks",)),
        ({"hostStackCIDRs": ["10.20.0.0/30"]}, 7, ("hostStackCIDRs has 10.20.0.0/30",)),
        ({"prevResult": {"ips": [{"address": "10.20.0.9/24"}]}}, 7, ("must be the first",)),
    ],
)
def test_a_wrong_network_of_neutron_ipvlan(
    lab: Lab, node: Node, more: dict[str, Any], code: int, says: tuple[str, ...]
) -> None:
    cidrs = {"serviceCIDRs": ["10.200.0.0/16"]}  # Not that of the node's further address.
    document = {**ipvlan(), **cidrs, **more}
    sentence = refused_unchanged(lab, node, NETNS, code, document, plugin=MAIN)
    assert all(words in sentence for words in says), sentence


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "prevResult: veth-host can't be the first of `plugins`"),
        ({"prevResult": {"interfaces": [{"name": "eth0"}]}}, "prevResult.ips: is empty"),
        ({"prevResult": {"ips": [{"address": "10.96.3.9/24"}]}}, "overlaps the pod's subnet"),
        ({"prevResult": {"ips": [{"address": "10.20.0"}]}}, "prevResult.ips[0].address"),
    ],
)
def test_a_wrong_result_of_the_plugin_before_veth_host(
    lab: Lab, node: Node, more: dict[str, Any], says: str
) -> None:
    leg = second_leg(serviceCIDRs=["10.96.0.0/16"])
    previous = more.get("prevResult")
    stated = {"prevResult": {"cniVersion": "1.1.0", **previous}} if previous else {}
    document = alone(leg, **stated)
    assert says in refused_unchanged(lab, node, NETNS, 7, document, plugin="veth-host")


def test_a_chain_in_the_wrong_order(lab: Lab, node: Node) -> None:
    """veth-host first changes nothing; after a main plugin another one is refused, and DEL undoes
    what the first has made."""
    main = {key: value for key, value in ipvlan().items() if key not in ("name", "cniVersion")}
    leg = second_leg(serviceCIDRs=["10.200.0.0/16"])
    conflist = {"cniVersion": "1.1.0", "name": NETWORK, "plugins": [leg, main]}
    before = snapshot(lab, node, NETNS)
    answer = libcni(node, "add", NETNS, conflist)
    assert snapshot(lab, node, NETNS) == before
    assert answer.status != 0
    assert "veth-host can't be the first of `plugins`" in answer.stdout + answer.stderr

    upstream = {"type": "ipvlan", "master": "eth0", "ipam": main["ipam"]}
    conflist = {**conflist, "plugins": [upstream, {**main, **leg, "type": MAIN}]}
    answer = libcni(node, "add", NETNS, conflist)
    assert "neutron-ipvlan must be the first of `plugins`" in answer.stdout + answer.stderr
    assert libcni(node, "del", NETNS, conflist).status == 0
    nothing_left(lab, node, NETNS)


HIDDEN = """
mount --bind /dev/null "$(readlink -f /usr/sbin/iptables-legacy-restore)" && exec "$@"
"""


def test_neither_nftables_nor_iptables(lab: Lab, node: Node) -> None:
    """This kernel has no nf_tables for IP, and the programs of iptables are out of reach."""
    document = {**ipvlan(), "serviceCIDRs": ["10.200.0.0/16"]}
    by = ["unshare", "--mount", "sh", "-c", HIDDEN, "sh"]
    said = refused_and_given_back(lab, node, NETNS, 106, document, plugin=MAIN, by=by)
    assert "it has no nf_tables for IPv4, and the older way fails" in said
    assert "there is no iptables-legacy-" in said
    assert call(node, "DEL", NETNS, document, plugin=MAIN).status == 0

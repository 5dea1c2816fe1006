"""A node whose FORWARD chain drops what no rule accepts, as Docker and ufw make it."""

from __future__ import annotations

import pytest

from neutron_cni.netlink.firewall import forward_drops
from tests.kernel.pods import FORWARDING, make_pod
from tests.kernel.world import OUTSIDE, World, inside

KINDS = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"]


def drops(world: World) -> list[tuple[str, tuple[int, ...]]]:
    found = inside(world.path("node"), forward_drops)
    return [(item.chain, item.versions) for item in found]


@pytest.mark.parametrize("program", KINDS)
def test_a_policy_of_drop_is_found_in_either_rule_set(world: World, program: str) -> None:
    name, _, kind = program.partition("-")
    assert drops(world) == []
    # A rule, another chain's policy and one of the user's change the place of what is read.
    world.do("node", program, "-N", "OURS")
    world.do("node", program, "-A", "FORWARD", "-p", "tcp", "-j", "OURS")
    world.do("node", program, "-P", "INPUT", "DROP")
    assert drops(world) == []
    world.do("node", program, "-P", "FORWARD", "DROP")
    chain = {
        "iptables-nft": "nftables ip filter FORWARD",
        "ip6tables-nft": "nftables ip6 filter FORWARD",
    }.get(program, f"{name}-{kind} FORWARD")
    assert drops(world) == [(chain, (6,) if name == "ip6tables" else (4,))]
    world.do("node", program, "-P", "FORWARD", "ACCEPT")
    assert drops(world) == []


def test_looking_makes_no_table(world: World) -> None:
    drops(world)
    assert world.do("node", "cat", "/proc/net/ip_tables_names") == ""
    assert world.do("node", "iptables-nft-save") == ""


def test_the_pod_is_cut_off_until_rules_accept_its_links(world: World) -> None:
    make_pod(world, "pod1", config=FORWARDING).apply()
    assert world.pings("pod1", OUTSIDE)
    world.do("node", "iptables-nft", "-P", "FORWARD", "DROP")
    assert not world.pings("pod1", OUTSIDE, seconds=2)
    # docs/troubleshooting.md has these.
    world.do("node", "iptables-nft", "-I", "FORWARD", "-i", "veth+", "-j", "ACCEPT")
    world.do("node", "iptables-nft", "-I", "FORWARD", "-o", "veth+", "-j", "ACCEPT")
    assert world.pings("pod1", OUTSIDE)
    assert world.pings("router", "10.10.10.19")

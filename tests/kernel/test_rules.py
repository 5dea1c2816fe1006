"""Policy rules and routing tables of a plan: made, seen by CHECK, taken away."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from neutron_cni.netlink.plan import LinkRoute, Rule, Side
from tests.kernel.pods import DUAL, Pod, make_pod
from tests.kernel.world import ROUTER_ADDRESS, World

TABLES = (100, 1000)
"""One whose number fits into the small field of netlink's messages, and one whose does not."""


def with_rules(pod: Pod, side: Side, table: int) -> Pod:
    """The pod's plan with a table of its own on one side, and rules of both versions for it."""
    link = "up0" if side is Side.HOST else "eth0"
    gateway = ROUTER_ADDRESS if side is Side.HOST else "169.254.1.1"
    route = LinkRoute(side, link, ip_network("0.0.0.0/0"), gateway=ip_address(gateway), table=table)
    rules = (
        Rule(side, 4, 150, table, source=ip_network("10.10.10.19/32")),
        Rule(side, 4, 151, table, mark=7),
        Rule(side, 6, 152, table, source=ip_network("fd00:10::19/128"), incoming=link),
    )
    plan = replace(pod.plan, routes=(*pod.plan.routes, route), rules=rules)
    return replace(pod, plan=plan)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("table", TABLES)
def test_rules_and_their_table_come_and_go(world: World, side: Side, table: int) -> None:
    pod = with_rules(make_pod(world, "pod1", DUAL), side, table)
    name = "node" if side is Side.HOST else "pod1"
    before = world.snapshot("node")
    pod.apply()

    rules = world.text(name, "rule", "show")
    assert f"150: from 10.10.10.19 lookup {table} proto 110" in rules
    assert f"151: from all fwmark 0x7/0x7 lookup {table} proto 110" in rules
    assert any("fd00:10::19" in line for line in world.text(name, "-6", "rule", "show"))
    assert world.text(name, "route", "show", "table", str(table))[0].startswith("default via")
    assert pod.diff() == []

    pod.apply()
    pod.undo()
    assert world.snapshot("node") == before
    assert not any(f"lookup {table}" in line for line in world.text("node", "-6", "rule", "show"))


@pytest.mark.parametrize("version", ["-4", "-6"])
def test_a_rule_that_is_gone_is_named(world: World, version: str) -> None:
    pod = with_rules(make_pod(world, "pod1", DUAL), Side.HOST, 100)
    pod.apply()
    priority = "150" if version == "-4" else "152"
    world.text("node", version, "rule", "del", "priority", priority)

    (sentence,) = pod.diff()
    assert sentence.startswith(f"node: the rule {priority}: from ")
    assert sentence.endswith("is missing")


def test_a_route_of_a_table_that_is_gone_is_named(world: World) -> None:
    pod = with_rules(make_pod(world, "pod1", DUAL), Side.HOST, 100)
    pod.apply()
    world.text("node", "route", "flush", "table", "100")

    (sentence,) = pod.diff()
    assert sentence == "node: the route default via 10.10.10.1 dev up0 table 100 (node) is missing"


@pytest.mark.parametrize(
    "foreign",
    [
        ("from", "10.10.10.19/32", "table", "200"),
        ("from", "10.10.10.19/32", "table", "100"),
        ("from", "10.10.10.19/32", "iif", "lo", "table", "100"),
        ("from", "10.10.10.19/32", "fwmark", "9", "table", "100"),
        ("from", "10.10.10.19/32", "to", "10.8.0.0/16", "table", "100"),
        ("from", "10.10.10.19/32", "oif", "lo", "table", "100"),
    ],
)
def test_somebody_elses_rule_stays_and_ours_is_made_beside_it(
    world: World, foreign: tuple[str, ...]
) -> None:
    """Of the same priority; the kernel compares only what a request names."""
    world.text("node", "rule", "add", *foreign, "priority", "150")
    before = world.text("node", "rule", "show")
    pod = with_rules(make_pod(world, "pod1", DUAL), Side.HOST, 100)
    pod.apply()
    assert world.text("node", "rule", "show", "protocol", "110") != []
    assert pod.diff() == []
    pod.undo()
    assert world.text("node", "rule", "show") == before


def test_somebody_elses_rule_is_not_taken_for_ours(world: World) -> None:
    pod = with_rules(make_pod(world, "pod1", DUAL), Side.HOST, 100)
    pod.apply()
    rule = ("from", "10.10.10.19/32", "priority", "150", "table", "100")
    world.text("node", "rule", "del", *rule)
    world.text("node", "rule", "add", *rule)

    (sentence,) = pod.diff()
    assert sentence.endswith("is missing")

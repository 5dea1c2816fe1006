"""What is there now in Neutron, in a node's kernel and in its store: to compare and to wait for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.node_store import in_store

_PACKET_RULES = """
{ iptables-legacy-save; ip6tables-legacy-save; iptables-save; ip6tables-save; } 2>/dev/null |
sed -e "/^#/d" -e "s/ \\[.*//"
"""
"""Without counters, and without the time of day."""


def wait_for(true: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Fails naming `what` when it is not `true` within `seconds`."""
    give_up = time.monotonic() + seconds
    pause = 0.05
    while not true():
        assert time.monotonic() < give_up, f"{what}: not within {seconds:g} s"
        time.sleep(pause)
        # Most ask Neutron, which computes as long for its answer as the first pauses last.
        pause = min(0.4, pause * 1.3)


def fixed_ips(lab: Lab, node: Node) -> set[str]:
    """The addresses on the node's port, its own excepted."""
    port = lab.connection().network.get_port(node.port_id)
    own = {str(item).partition("/")[0] for item in node.facts["addresses"]}
    return {item["ip_address"] for item in port.fixed_ips} - own


def leases(lab: Lab, node: Node) -> list[dict[str, Any]]:
    """Rows of the node's store, with their addresses; empty where there is no store yet."""
    own = "SELECT json_group_array(address) FROM address WHERE lease_id = lease.id"
    rows = in_store(lab, node, f"SELECT *, ({own}) AS addresses FROM lease ORDER BY id")
    return [{**row, "addresses": sorted(json.loads(row["addresses"]))} for row in rows]


def held(lab: Lab, node: Node) -> dict[str, set[str]]:
    """Container id to addresses, of what the store holds for pods."""
    rows = leases(lab, node)
    return {row["container_id"]: set(row["addresses"]) for row in rows if row["state"] == "held"}


def pod_routes(node: Node) -> dict[str, str]:
    """Address to device, of the node's routes to its pods, of both IP versions."""
    shown = node.exec(["sh", "-c", "ip -j -4 route && ip -j -6 route"]).stdout
    routes = [item for line in shown.splitlines() for item in json.loads(line)]
    return {
        item["dst"]: item["dev"]
        for item in routes
        if item["dev"].startswith("veth") and "/" not in item["dst"]
    }


def veths(node: Node) -> set[str]:
    """The node's ends of pods' links, and of what else is called so."""
    links = json.loads(node.exec(["ip", "-j", "link", "show", "type", "veth"]).stdout)
    names = {item.get("ifname", "") for item in links}  # A link of another type is {}.
    return {name for name in names if name.startswith("veth")}


def half_made(node: Node) -> list[str]:
    """Links by the names that neutron-ipvlan's have while they are made, wherever they are."""
    each = (
        'for name in $(ip netns list | cut -d" " -f1); do ip -n "$name" -o link; done; ip -o link'
    )
    shown = node.exec(["sh", "-c", each]).stdout
    return re.findall(r"^\d+: (ncni\w+)", shown, re.MULTILINE)


def proxies(node: Node) -> set[str]:
    """The addresses that the node answers ARP and ND for."""
    words = ["ip", "-j", "neigh", "show", "proxy"]
    entries = [json.loads(node.exec([words[0], *more, *words[1:]]).stdout) for more in ([], ["-6"])]
    return {item["dst"] for found in entries for item in found}


def wait_until_settled(lab: Lab, node: Node, seconds: float = 120.0) -> None:
    """Until the node's store waits for nothing: every address is held, or back in Neutron."""
    wait_for(
        lambda: all(row["state"] == "held" for row in leases(lab, node)),
        f"addresses of {node.name} to be given back",
        seconds,
    )


def snapshot(lab: Lab, node: Node, netns: str = "") -> dict[str, Any]:
    """All that a call which fails must leave alone, to the last digit of the port's revision.

    `netns`: the name of the namespace that the call is about.
    """
    network = lab.connection().network
    inside = ["ip", "-n", netns, "-d", "addr"] if netns else ["true"]
    return {
        "ports": sorted(port.id for port in network.ports()),
        "port": network.get_port(node.port_id).to_dict() if "port_id" in node.facts else None,
        "store": leases(lab, node),
        "links": node.exec(["ip", "-d", "addr"]).stdout,
        "routes": node.exec(["ip", "-d", "route", "show", "table", "all"]).stdout,
        "routes of IPv6": node.exec(["ip", "-6", "-d", "route", "show", "table", "all"]).stdout,
        "rules": node.exec(["sh", "-c", "ip rule; ip -6 rule"]).stdout,
        "packet rules": node.exec(["sh", "-c", _PACKET_RULES], check=False).stdout,
        "neighbours": node.exec(["ip", "neigh", "show", "nud", "permanent"]).stdout,
        "proxies": node.exec(["ip", "neigh", "show", "proxy"]).stdout,
        "pod": node.exec(inside, check=False).stdout,
    }

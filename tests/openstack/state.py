"""What is there now in Neutron, in a node's kernel and in its store: to compare and to wait for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.node_store import in_store

_PACKET_RULES = """
{ iptables-legacy-save; ip6tables-legacy-save; iptables-save; ip6tables-save; } 2>/dev/null |
sed -e "/^#/d" -e "s/ \\[.*//"
"""
"""Without counters, and without the time of day."""

_ALL = {
    "links": "ip -d addr",
    "routes": "ip -d route show table all",
    "routes of IPv6": "ip -6 -d route show table all",
    "rules": "ip rule; ip -6 rule",
    "packet rules": _PACKET_RULES,
    "neighbours": "ip neigh show nud permanent",
    "proxies": "ip neigh show proxy",
}
_ROUTES = {"v4": "ip -j -4 route", "v6": "ip -j -6 route"}
_VETHS = {"veths": "ip -j link show type veth"}
_EVERYWHERE = {
    "everywhere": 'ip -o link; for n in $(ip netns list | cut -d" " -f1); do ip -n $n -o link; done'
}
_BREAK = "=== next ==="


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


def outputs(node: Node, commands: Mapping[str, str]) -> dict[str, str]:
    """What each shell command prints on the node, failed or not, by the names that `commands` has.

    All of them in one call, which takes as long on a VM as ten of them.
    """
    script = "\n".join(f"echo; echo {_BREAK}\n{command}" for command in commands.values())
    shown = node.exec(["sh", "-c", f"{{ {script}\n}} 2>/dev/null; true"]).stdout
    return dict(zip(commands, shown.split(f"\n{_BREAK}\n")[1:], strict=True))


def pod_routes(node: Node) -> dict[str, str]:
    """Address to device, of the node's routes to its pods, of both IP versions."""
    return _pod_routes(outputs(node, _ROUTES))


def _pod_routes(shown: Mapping[str, str]) -> dict[str, str]:
    routes = [item for key in ("v4", "v6") for item in json.loads(shown[key])]
    return {
        item["dst"]: item["dev"]
        for item in routes
        if item["dev"].startswith("veth") and "/" not in item["dst"]
    }


def veths(node: Node) -> set[str]:
    """The node's ends of pods' links, and of what else is called so."""
    return _veths(outputs(node, _VETHS))


def _veths(shown: Mapping[str, str]) -> set[str]:
    links = json.loads(shown["veths"])
    names = {item.get("ifname", "") for item in links}  # A link of another type is {}.
    return {name for name in names if name.startswith("veth")}


def half_made(node: Node) -> list[str]:
    """Links by the names that neutron-ipvlan's have while they are made, wherever they are."""
    return _half_made(outputs(node, _EVERYWHERE))


def _half_made(shown: Mapping[str, str]) -> list[str]:
    return re.findall(r"^\d+: (ncni\w+)", shown["everywhere"], re.MULTILINE)


def of_pods(node: Node) -> list[str]:
    """All of that, in one look: what pods have on the node, and half made ones anywhere."""
    shown = outputs(node, _ROUTES | _VETHS | _EVERYWHERE)
    found = [f"route {address}" for address in _pod_routes(shown)]
    found += [f"link {name}" for name in _veths(shown)]
    return found + _half_made(shown)


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
    return {
        "ports": sorted(port.id for port in network.ports()),
        "port": network.get_port(node.port_id).to_dict() if "port_id" in node.facts else None,
        "store": leases(lab, node),
        **outputs(node, _ALL | {"pod": f"ip -n {netns} -d addr" if netns else "true"}),
    }

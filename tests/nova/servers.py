"""Attaching and detaching by Nova's API from outside, and what a node has of it then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.state import wait_for


@dataclass(frozen=True)
class Port:
    """A Neutron port that a test made."""

    id: str
    mac: str
    address: str


def attach(lab: Lab, node: Node, port: Port) -> None:
    """Attach it; openstacksdk's exception if Nova does not answer 200."""
    lab.connection().compute.create_server_interface(node.server_id, port_id=port.id)


def detach(lab: Lab, node: Node, port_id: str) -> str:
    """Ask for it, as Nova accepts at once; the request's id, by which `outcome` is asked for."""
    address = f"/servers/{node.server_id}/os-interface/{port_id}"
    answer = lab.connection().compute.delete(address)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["x-openstack-request-id"])


def outcome(lab: Lab, node: Node, request: str) -> str:
    """``Success`` or ``Error``, once the action of this request has ended; else nothing."""
    address = f"/servers/{node.server_id}/os-instance-actions/{request}"
    action: dict[str, Any] = lab.connection().compute.get(address, microversion="2.51").json()
    events = action.get("instanceAction", {}).get("events", [])
    ended = [event["result"] for event in events if event["finish_time"]]
    return str(ended[0]) if ended else ""


def detach_and_wait(lab: Lab, node: Node, port_id: str) -> str:
    """Detach it, and how that ended."""
    request = detach(lab, node, port_id)
    wait_for(lambda: bool(outcome(lab, node, request)), "the detach to end", 180)
    return outcome(lab, node, request)


def is_bound(lab: Lab, node: Node, port: Port) -> bool:
    """Whether Neutron says that the port is this server's."""
    return bool(lab.connection().network.get_port(port.id).device_id == node.server_id)


def links(node: Node, netns: str = "") -> dict[str, dict[str, Any]]:
    """What ``ip -j link`` shows in a namespace of the node, else in its own, by MAC."""
    inside = ["-n", netns] if netns else []
    shown = json.loads(node.exec(["ip", *inside, "-j", "link"]).stdout)
    return {link["address"]: link for link in shown if link["ifname"] != "lo"}

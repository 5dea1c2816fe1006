"""Whoever configures the node's NICs leaves those of pods alone, and takes others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.nova.faults import Faults
from neutron_cni_lab.progress import Progress
from tests.nova.network_managers import MANAGERS, heard, ifupdown, properties, start_udev
from tests.nova.servers import Port, attach, detach_and_wait, links
from tests.nova.test_nova_interface import PATIENCE, PLUGIN, gone, network_of, pod
from tests.openstack.modes import Container, fresh_nodes
from tests.openstack.plugin import call
from tests.openstack.state import wait_for

NODE = "udev1"
MARKS = "/var/lib/neutron-cni/unmanaged"
TRIED = list(MANAGERS)[: int(os.environ.get("NEUTRON_CNI_MANAGERS", "1"))]
OURS = {"NM_UNMANAGED": "1", "ID_NET_MANAGED_BY": "neutron-cni"}


@pytest.fixture(scope="module")
def udev_node(lab: Lab) -> Iterator[Node]:
    """A VM with udev and its friends, on which `install` was run as these were there."""
    lab.software.network_daemons.install(Progress())
    with fresh_nodes(lab, NODE, kernel="own") as (node,):
        lab.software.network_daemons.put_into(node)
        node.exec(["neutron-cni", "install", "--bin-dir", "/opt/cni/bin"])
        start_udev(node)
        yield node


@pytest.fixture
def node(lab: Lab, udev_node: Node) -> Iterator[Node]:
    """It, with its first NIC only, before and after."""
    before = set(links(udev_node))
    yield udev_node
    wait_for(lambda: gone(lab, lab.node(NODE), before), "the NICs to go", PATIENCE)
    assert marks(lab.node(NODE)) == []


@pytest.fixture
def network(lab: Lab) -> dict[str, Any]:
    return network_of(lab)


def marks(node: Node) -> list[str]:
    """The MACs that udev is told of."""
    return node.exec(["ls", MARKS], check=False).stdout.split()


def device(node: Node, mac: str) -> str:
    return str(links(node)[mac]["ifname"])


def addresses(node: Node, mac: str) -> list[str]:
    """The IPv4 addresses of a NIC of the node."""
    shown = json.loads(node.exec(["ip", "-j", "-4", "address", "show", device(node, mac)]).stdout)
    return [item["local"] for link in shown for item in link.get("addr_info", ())]


def said(found: dict[str, str]) -> dict[str, str]:
    """What of these properties network managers go by."""
    return {name: value for name, value in found.items() if name in OURS}


def mac_of(result: dict[str, Any]) -> str:
    return str(result["interfaces"][0]["mac"])


def test_each_event_of_a_pods_nic_says_that_it_is_ours(node: Node, network: dict[str, Any]) -> None:
    """It comes from Nova, and comes home from the pod."""
    with heard(node) as events, pod(node, "one", network) as (_, result):
        assert marks(node) == [mac_of(result)]
    came = [event for event in events if event["ACTION"] == "add"]
    assert len(came) == 2
    there = [event for event in events if event["ACTION"] != "remove"]
    assert [said(event) for event in there] == [OURS] * len(there)


def test_nothing_is_said_of_a_nic_that_is_no_pods(lab: Lab, node: Node, port: Port) -> None:
    attach(lab, node, port)
    try:
        assert said(properties(node, device(node, port.mac))) == {}
    finally:
        detach_and_wait(lab, node, port.id)


def test_a_vm_that_boots_knows_the_nics_of_its_pods(
    lab: Lab, node: Node, network: dict[str, Any]
) -> None:
    mac = mac_of(Container(node, "one", network, PLUGIN).add())
    again = lab.reboot_node(NODE)
    start_udev(again)
    try:
        assert said(properties(again, device(again, mac))) == OURS
    finally:
        document = {**network, "cni.dev/valid-attachments": []}
        assert call(again, "GC", document=document, plugin=PLUGIN).status == 0


@pytest.mark.parametrize("manager", [MANAGERS[name] for name in TRIED], ids=TRIED)
def test_a_pods_nic_is_left_alone_and_another_one_is_configured(
    lab: Lab,
    node: Node,
    network: dict[str, Any],
    port: Port,
    manager: Callable[[Node], AbstractContextManager[None]],
) -> None:
    with manager(node):
        with both(lab, node, network, port) as mac:
            wait_for(lambda: addresses(node, port.mac) != [], "an address", PATIENCE)
            assert addresses(node, mac) == []
            assert "UP" not in links(node)[mac]["flags"]
        detach_and_wait(lab, node, port.id)


def test_ifupdown_is_called_for_other_nics_only(
    lab: Lab, node: Node, network: dict[str, Any], port: Port
) -> None:
    """As an example of programs that udev runs for each NIC that comes."""
    with ifupdown(node) as called:
        with both(lab, node, network, port):
            other = device(node, port.mac)
            wait_for(lambda: other in called(), "ifupdown to be called")
            assert called() == [other]
        detach_and_wait(lab, node, port.id)


@contextmanager
def both(lab: Lab, node: Node, network: dict[str, Any], port: Port) -> Iterator[str]:
    """A pod's NIC (the MAC) that has come home and stays there, and then another one has come."""
    with lab.nova.ordered(Faults(detach_fails=True)):
        with pod(node, "one", network) as (_, result):
            pass
        attach(lab, node, port)
        yield mac_of(result)

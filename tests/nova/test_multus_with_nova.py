"""The real Multus gives a pod, beside its `eth0`, a NIC that Nova attaches: `net1`.

The network is that of docs/how-to/nova-interface.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod
from tests.nova.servers import links
from tests.nova.test_nova_interface import PATIENCE, nics_in_neutron, port_of
from tests.openstack.modes import MARK, PREFIX, remove_network
from tests.openstack.multus import install, multus, network
from tests.openstack.plugin import call, config
from tests.openstack.state import held, wait_for

FIRST = {**config("1.1.0"), "name": "first"}
"""The network of the pod's `eth0`."""


NAME, CIDR, GATEWAY = "fast", "10.75.0.0/24", "10.75.0.1"


@pytest.fixture(scope="module")
def fast(lab: Lab) -> Iterator[dict[str, Any]]:
    """The page's network, in Neutron too, behind the router of the pods' first one."""
    calls = lab.connection().network
    remove_network(lab, NAME)
    made = calls.create_network(name=NAME, description=MARK)
    try:
        subnet = calls.create_subnet(name=NAME, network_id=made.id, ip_version=4, cidr=CIDR)
        calls.add_interface_to_router(lab.facts["router_id"], subnet=subnet.id)
        yield network("nova-interface", securityGroups=[lab.facts["security_group_id"]])
    finally:
        remove_network(lab, NAME)


@pytest.fixture
def pod(lab: Lab, node: Node, fast: dict[str, Any]) -> Iterator[Pod]:
    """An empty namespace on a node with Multus; what was attached to it is gone after the test, and
    before it what a killed run left."""
    install(lab, node)
    made = Pod(node, f"{PREFIX}multus")
    _remove(lab, made, fast)
    node.exec(["ip", "netns", "add", made.name])
    yield made
    _remove(lab, made, fast)


def _remove(lab: Lab, pod: Pod, fast: dict[str, Any]) -> None:
    pod.node.exec(["ip", "netns", "del", pod.name], check=False)
    for document in (FIRST, fast):
        given = {**document, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
        answer = call(pod.node, "GC", document=given, plugin=document["type"])
        assert answer.status == 0, answer
    wait_for(lambda: nics_in_neutron(lab) == [], "all ports of NICs to go", PATIENCE)
    assert held(lab, pod.node) == {}


def addresses(pod: Pod) -> dict[str, str]:
    """The IPv4 address of each interface but the loopback, by name."""
    shown = json.loads(pod.exec(["ip", "-j", "-4", "addr"]).stdout)
    return {x["ifname"]: x["addr_info"][0]["local"] for x in shown if x["ifname"] != "lo"}


def test_net1_is_a_nic_that_nova_attached_and_it_goes_with_the_pod(
    lab: Lab, node: Node, pod: Pod, fast: dict[str, Any]
) -> None:
    before = set(links(node))
    answer = multus(node, "ADD", pod.name, [FIRST, fast])
    assert answer.status == 0, answer
    mine = addresses(pod)
    assert [*mine] == ["eth0", "net1"]
    assert answer.address == mine["eth0"], "the result is that of the first network"
    port = port_of(lab, mine["net1"])
    assert port.device_id == node.server_id
    assert links(node, pod.name)[port.mac_address]["ifname"] == "net1"
    default = json.loads(pod.exec(["ip", "-j", "route", "show", "default"]).stdout)
    assert [route["dev"] for route in default] == ["eth0"]
    pod.exec(["ping", "-n", "-c", "1", "-W", "10", "-I", mine["net1"], GATEWAY])
    for name in ("eth0", "net1"):
        lab.node("node2").exec(["ping", "-n", "-c", "1", "-W", "10", mine[name]])
    assert multus(node, "CHECK", pod.name, [FIRST, fast]).status == 0
    assert multus(node, "STATUS", "", [FIRST, fast]).status == 0

    assert multus(node, "DEL", pod.name, [FIRST, fast]).status == 0
    assert addresses(pod) == {}
    wait_for(lambda: nics_in_neutron(lab) == [], "the port to go", PATIENCE)
    assert port.mac_address not in links(node)
    assert before <= set(links(node))


def test_what_nova_refuses_leaves_the_pod_without_either(
    lab: Lab, node: Node, pod: Pod, fast: dict[str, Any]
) -> None:
    """Multus takes back what it attached before."""
    full = {**fast, "ipam": {**fast["ipam"], "maxNICs": 1}}
    answer = multus(node, "ADD", pod.name, [FIRST, full])
    assert answer.status == 1
    assert "has 1 NICs, its own included, and may have 1" in answer.json["msg"]
    assert addresses(pod) == {}
    assert nics_in_neutron(lab) == []

"""OpenStack tests need a lab; which one is in tests/support/labs.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Literal

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod
from tests.openstack.plugin import NETWORK, collect, config
from tests.openstack.state import wait_for, wait_until_settled
from tests.openstack.unchanged import refused_unchanged
from tests.support.labs import lab_by_hand

CONF_DIR = "/run/neutron-cni-test"
MARK = "neutron-cni test"
"""Description of every Neutron object that a test makes."""

PREFIX = "t-"
"""What the names of all namespaces begin with that tests make on a node."""

NODES = ("tlone", "tbare", "ttwins", "tmany", "tdown", "tfault", "tswitch")
"""The names of all nodes that tests make."""

_numbers = count()


@pytest.fixture(scope="session")
def lab(lab: Lab) -> Lab:
    """The worker's lab, without what a killed run left in one that is named."""
    if lab_by_hand():
        lab.start_database()
        lab.start_neutron()
        _remove_leftovers(lab)
    for node in lab.nodes:
        write_conflist(node)
    return lab


@pytest.fixture(scope="session")
def node1(lab: Lab) -> Node:
    """The first of the lab's two VMs."""
    return lab.node("node1")


@pytest.fixture(scope="session")
def node2(lab: Lab) -> Node:
    """The other VM."""
    return lab.node("node2")


@pytest.fixture
def netns(node1: Node) -> Iterator[str]:
    """The name of a new, empty namespace on node1."""
    name = new_name()
    node1.exec(["ip", "netns", "add", name])
    yield name
    node1.exec(["ip", "netns", "del", name], check=False)


@pytest.fixture(scope="session")
def lone_node(lab: Lab) -> Iterator[Node]:
    """A node where nothing changes but by the one test that runs."""
    yield new_node(lab, "tlone")
    lab.remove_node("tlone")


@pytest.fixture
def lone_pod(lone_node: Node) -> Iterator[str]:
    """The name of an empty namespace on `lone_node`."""
    name = new_name()
    lone_node.exec(["ip", "netns", "add", name])
    yield name
    lone_node.exec(["ip", "netns", "del", name], check=False)


Refused = Callable[..., str]


@pytest.fixture
def refused(lab: Lab, lone_node: Node, lone_pod: str) -> Refused:
    """Makes an ADD that must fail with `code` and change nothing; the sentence it said."""

    def check(code: int, document: Mapping[str, Any] | str | None = None, **options: str) -> str:
        return refused_unchanged(lab, lone_node, lone_pod, code, document, **options)

    return check


@pytest.fixture
def make_pod(lab: Lab) -> Iterator[Callable[[Node], Pod]]:
    """Makes pods that are attached, and gone after the test."""
    pods: list[Pod] = []

    def make(node: Node) -> Pod:
        pod = new_pod(node)
        pods.append(pod)
        pod.add()
        return pod

    yield make
    remove_pods(lab, pods)


def new_name() -> str:
    """The name of a namespace that no other test uses."""
    return f"{PREFIX}{next(_numbers)}"


def new_pod(node: Node) -> Pod:
    """A pod that is not attached yet."""
    return Pod(node, new_name(), NETWORK, CONF_DIR)


def new_node(lab: Lab, name: str, kind: Literal["vm", "bare"] = "vm") -> Node:
    """A node of a test's own, one of NODES, once its kernel has nothing left to do by itself."""
    assert name in NODES
    lab.remove_node(name)
    node = lab.add_node(name, kind=kind)
    tentative = ["ip", "-6", "addr", "show", "tentative"]
    wait_for(lambda: not node.exec(tentative).stdout, "duplicate address detection")
    write_conflist(node)
    return node


def remove_pods(lab: Lab, pods: list[Pod]) -> None:
    """Delete them, and wait until Neutron has their addresses back."""
    for pod in pods:
        pod.delete()
    for node in {pod.node.name: pod.node for pod in pods}.values():
        wait_until_settled(lab, node)


def write_conflist(node: Node) -> None:
    """The tests' network, for `cnitool` on that node."""
    plugin = {key: value for key, value in config().items() if key in ("type", "ipam")}
    conflist = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [plugin]}
    script = f"mkdir -p {CONF_DIR} && cat > {CONF_DIR}/test.conflist"
    node.exec(["sh", "-c", script], input=json.dumps(conflist))


def _remove_leftovers(lab: Lab) -> None:
    network = lab.connection().network
    for floating in network.ips(description=MARK):
        network.delete_ip(floating)
    for name in NODES:
        lab.remove_node(name)
    for node in lab.nodes:
        if node.facts["kind"] != "vm":
            continue
        if not network.get_port(node.port_id).is_port_security_enabled:
            groups = [lab.facts["security_group_id"]]
            network.update_port(node.port_id, port_security_enabled=True, security_groups=groups)
        collect(node)
        for line in node.exec(["ip", "netns", "list"]).stdout.splitlines():
            if line.startswith(PREFIX):
                node.exec(["ip", "netns", "del", line.split()[0]])
        wait_until_settled(lab, node)
    for port in network.ports(description=MARK):
        network.delete_port(port)
    for found in (*network.subnets(description=MARK), *network.networks(description=MARK)):
        delete = network.delete_network if "subnet_ids" in found else network.delete_subnet
        delete(found)

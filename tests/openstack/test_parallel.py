"""A hundred calls at once on one node: Neutron, the store and the kernel end up agreeing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Lock

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_node
from tests.openstack.plugin import call
from tests.openstack.state import fixed_ips, held, pod_routes, wait_until_settled

SEED = int(os.environ.get("NEUTRON_CNI_TEST_SEED", "20260301"))
CALLS = 100
PODS = 30
AT_ONCE = 12


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A node of its own: all that is on it comes from here."""
    yield new_node(lab, "tmany")
    lab.remove_node("tmany")


@dataclass
class Container:
    """One of the pods. `lock`: a runtime never makes two calls for one container at a time
    (CNI SPEC, section 3). `address`: what the last call left it with, empty after DEL.
    """

    name: str
    lock: Lock = field(default_factory=Lock)
    address: str = ""

    def call(self, node: Node, command: str) -> str:
        """Make the call; what was wrong about its answer, or nothing."""
        with self.lock:
            answer = call(node, command, self.name)
            if answer.status:
                return f"{command} {self.name}: {answer.stdout} {answer.stderr}"
            if command == "DEL":
                self.address = ""
                return ""
            given = answer.address
            wrong = "" if self.address in ("", given) else f"{self.name}: {self.address} to {given}"
            self.address = given
            return wrong


def test_random_adds_and_dels_at_once_leave_neutron_store_and_kernel_agreeing(
    lab: Lab, node: Node
) -> None:
    random = Random(SEED)
    containers = [Container(f"t-many{number}") for number in range(PODS)]
    for container in containers:
        node.exec(["ip", "netns", "add", container.name])
    calls = [
        (random.choice(containers), random.choice(["ADD", "ADD", "DEL"])) for _ in range(CALLS)
    ]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(pool.map(lambda item: item[0].call(node, item[1]), calls))
    wait_until_settled(lab, node, 60)

    said = f"seed {SEED}"
    assert [text for text in wrong if text] == [], said
    expected = {item.name: item.address for item in containers if item.address}
    assert max(Counter(expected.values()).values()) == 1, said
    assert 10 <= len(expected) <= PODS, said  # or this would not have tried much
    assert held(lab, node) == expected, said
    assert fixed_ips(lab, node) == set(expected.values()), said
    assert set(pod_routes(node)) == set(expected.values()), said
    assert claimed(lab, node) == Counter(expected.values()), said
    for container in containers:
        assert eth0(node, container.name) == container.address, f"{container.name}, {said}"
    for container in random.sample([item for item in containers if item.address], 5):
        ping = ["ip", "netns", "exec", container.name, "ping", "-c1", "-W2", "10.10.0.1"]
        assert node.exec(ping, check=False).returncode == 0, said

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert "".join(pool.map(lambda item: item.call(node, "DEL"), containers)) == ""
    wait_until_settled(lab, node, 60)
    assert (fixed_ips(lab, node), held(lab, node), pod_routes(node)) == (set(), {}, {})


def claimed(lab: Lab, node: Node) -> Counter[str]:
    """How often each address is claimed by a tag of the node's port."""
    tags = lab.connection().network.get_port(node.port_id).tags
    return Counter(tag.split(":")[1] for tag in tags if tag.startswith("ncni:"))


def eth0(node: Node, netns: str) -> str:
    """The address of eth0 in the namespace, empty without one."""
    words = ["ip", "-n", netns, "-4", "-o", "addr", "show", "dev", "eth0"]
    shown = node.exec(words, check=False).stdout.split()
    return shown[3].partition("/")[0] if shown else ""

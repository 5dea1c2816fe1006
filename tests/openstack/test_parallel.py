"""Many calls at once on one node: few updates of its port, and in the end all agree."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from tempfile import TemporaryFile
from threading import Lock

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_node
from tests.openstack.plugin import BIN, call, config
from tests.openstack.state import fixed_ips, held, pod_routes, wait_until_settled

SEED = int(os.environ.get("NEUTRON_CNI_TEST_SEED", "20260301"))
CALLS = int(os.environ.get("NEUTRON_CNI_CALLS", "40"))
PODS = 20
AT_ONCE = 12
BURST = 50
IPAM = "cni-ipam-neutron"
GATE = "/run/t-gate"


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
    assert 5 <= len(expected) <= PODS, said  # or this would not have tried much
    assert held(lab, node) == expected, said
    assert fixed_ips(lab, node) == set(expected.values()), said
    assert set(pod_routes(node)) == set(expected.values()), said
    assert claimed(lab, node) == Counter(expected.values()), said
    for container in containers:
        assert eth0(node, container.name) == container.address, f"{container.name}, {said}"
    for container in random.sample([item for item in containers if item.address], 5):
        ping = ["ip", "netns", "exec", container.name, "ping", "-c1", "-w30", "10.10.0.1"]
        assert node.exec(ping, check=False).returncode == 0, said

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert "".join(pool.map(lambda item: item.call(node, "DEL"), containers)) == ""
    wait_until_settled(lab, node, 60)
    assert (fixed_ips(lab, node), held(lab, node), pod_routes(node)) == (set(), {}, {})


def test_fifty_adds_at_once_on_a_node_that_has_nothing_are_four_updates_at_most(
    lab: Lab, node: Node
) -> None:
    """Cold: no store, so nothing is known of Neutron either."""
    node.exec(["rm", "-rf", "/var/lib/neutron-cni"])
    names = [f"t-burst{number}" for number in range(BURST)]
    node.exec(["sh", "-c", f'for name in {" ".join(names)}; do ip netns add "$name"; done'])
    before = port_updates(lab, node)

    answers = burst(node, "ADD", names)

    updates = port_updates(lab, node) - before
    assert [text for status, text in answers if status] == []
    given = {str(json.loads(text)["ips"][0]["address"]).partition("/")[0] for _, text in answers}
    assert len(given) == BURST
    assert fixed_ips(lab, node) == given == set(held(lab, node).values())
    assert 1 <= updates <= 4

    assert {status for status, _ in burst(node, "DEL", names)} == {0}
    wait_until_settled(lab, node, 60)
    assert (fixed_ips(lab, node), held(lab, node)) == (set(), {})


def burst(node: Node, command: str, names: list[str]) -> list[tuple[int, str]]:
    """Status and output of the IPAM plugin's processes, which wait at a gate until all are there.

    That is a lock which this test holds: entering the node takes each of them a while.
    """
    hold = ["flock", "--exclusive", GATE, "sh", "-c", "echo held; read -r _"]
    with node.popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as gate:
        assert gate.stdin is not None
        assert gate.stdout is not None
        assert gate.stdout.readline() == "held\n"
        processes = [_behind_the_gate(node, command, name) for name in names]
        gate.stdin.close()
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    return [(process.returncode, out) for process, out in zip(processes, outputs, strict=True)]


def _behind_the_gate(node: Node, command: str, name: str) -> subprocess.Popen[str]:
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": BIN,
    }
    # Nor may what the plugin leaves running (the sweeper) hold the lock.
    words = ["flock", "--shared", "--close", GATE, f"{BIN}/{IPAM}"]
    with TemporaryFile("w+") as stdin:
        stdin.write(json.dumps(config(plugin=IPAM)))
        stdin.seek(0)
        return node.popen(words, env=variables, stdin=stdin, stdout=subprocess.PIPE, text=True)


def port_updates(lab: Lab, node: Node) -> int:
    """How many times Neutron was asked to change the node's port."""
    asked = [line.split()[2:4] for line in lab.neutron.requests_log.read_text().splitlines()]
    return asked.count(["PUT", f"/ports/{node.port_id}"])


def claimed(lab: Lab, node: Node) -> Counter[str]:
    """How often each address is claimed by a tag of the node's port."""
    tags = lab.connection().network.get_port(node.port_id).tags
    return Counter(tag.split(":")[1] for tag in tags if tag.startswith("ncni:"))


def eth0(node: Node, netns: str) -> str:
    """The address of eth0 in the namespace, empty without one."""
    words = ["ip", "-n", netns, "-4", "-o", "addr", "show", "dev", "eth0"]
    shown = node.exec(words, check=False).stdout.split()
    return shown[3].partition("/")[0] if shown else ""

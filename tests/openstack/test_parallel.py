"""Many calls at once on one node: few updates of its port, and in the end all agree."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from tempfile import TemporaryFile

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_node
from tests.openstack.crowd import SEED, Crowd
from tests.openstack.plugin import BIN, config
from tests.openstack.state import fixed_ips, held, wait_until_settled

CALLS = int(os.environ.get("NEUTRON_CNI_CALLS", "40"))
AT_ONCE = 12
BURST = 50
IPAM = "cni-ipam-neutron"
GATE = "/run/t-gate"


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A node of its own: all that is on it comes from here."""
    yield new_node(lab, "tmany")
    lab.remove_node("tmany")


def test_random_adds_and_dels_at_once_leave_neutron_store_and_kernel_agreeing(
    lab: Lab, node: Node
) -> None:
    crowd = Crowd(lab, node, config())
    crowd.churn(CALLS, AT_ONCE, SEED)
    crowd.agree(f"seed {SEED}")
    crowd.leave(AT_ONCE)


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
    assert fixed_ips(lab, node) == given == set().union(*held(lab, node).values())
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

"""The demo tells the truth: it passes where all is well, and fails where something is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod

Demo = Callable[[], tuple[int, list[str], str]]


@pytest.fixture
def demo(lab: Lab) -> Demo:
    """Runs it as `./demo` does: its status, the rows of its table, and all it printed."""

    def run() -> tuple[int, list[str], str]:
        words = [sys.executable, "-m", "neutron_cni_lab", "demo", "--name", lab.places.name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        table = done.stdout.partition("\n\n")[0].splitlines()[2:]
        return done.returncode, [line for line in table if not line.startswith(" ")], done.stdout

    return run


def test_all_rows_are_ok_and_the_pods_are_left_running(lab: Lab, node1: Node, demo: Demo) -> None:
    status, rows, text = demo()
    assert status == 0, text
    assert len(rows) == 15
    assert all(" ok " in row for row in rows), text
    assert max(map(len, text.partition("\n\n")[0].splitlines())) <= 100
    for name, node in {"pod1": node1, "pod2": node1, "pod3": lab.node("node2")}.items():
        assert Pod(node, name).address in text


def test_without_port_security_one_row_fails_and_the_status_says_so(
    lab: Lab, node1: Node, demo: Demo
) -> None:
    """On a lab where the demo has been before, too: it is the second run."""
    network, groups = lab.connection().network, [lab.facts["security_group_id"]]
    network.update_port(node1.port_id, port_security_enabled=False, security_groups=[])
    try:
        status, rows, text = demo()
    finally:
        network.update_port(node1.port_id, port_security_enabled=True, security_groups=groups)
    assert status == 1
    assert ["forged source" in row for row in rows if " FAIL " in row] == [True], text
    assert len(rows) == 15

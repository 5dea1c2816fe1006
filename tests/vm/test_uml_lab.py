"""A lab of VMs with kernels of their own: `neutron-cni lab up --nodes uml`, `status`, `down`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni_lab import Lab, LabError
from neutron_cni_lab.namespaces import inode
from neutron_cni_lab.paths import name_for_checkout
from neutron_cni_lab.processes import all_of, wait_until
from tests.support.labs import NOTHING, traces

NAME = name_for_checkout("vmtest")


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.prefix) / "bin" / "neutron-cni"), "lab", *words, "--name", NAME]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab(made: Lab) -> Lab:
    """It is up, also after a test that took it down."""
    if not made.facts.get("up"):
        done = typed("up", "--nodes", "uml")
        assert done.returncode == 0, done.stderr
    return made


def test_its_nodes_have_kernels_of_their_own_and_are_shown_so(lab: Lab) -> None:
    assert [(node.name, node.kernel) for node in lab.nodes] == [("node1", "own"), ("node2", "own")]
    lines = [line for line in typed("status").stdout.splitlines() if "vm (uml)" in line]
    assert [line.split()[1] for line in lines] == ["node1", "node2"]


def test_their_consoles_are_among_the_logs(lab: Lab) -> None:
    assert "Linux version" in lab.places.logs.joinpath("node1.log").read_text(errors="replace")
    done = typed("logs", "node1")
    assert "EXT4-fs (ubda)" in done.stdout


def test_nodes_of_the_other_kind_are_beside_them_and_up_leaves_all_as_they_are(lab: Lab) -> None:
    shared = lab.add_node("other")
    pids = [node.pid for node in lab.nodes]
    lab.up()
    assert pids == [node.pid for node in lab.nodes]
    assert shared.exec(["uname", "-r"]).stdout.strip() == os.uname().release
    shared.exec(["ping", "-c1", "-w60", lab.node("node1").address])
    lab.remove_node("other")
    with pytest.raises(LabError, match="a vm on network tenant with a kernel of its own"):
        lab.up(kernel="shared")
    with pytest.raises(LabError, match="there is a node 'node1'"):
        lab.add_node("node1")


def test_a_bare_one_is_on_the_external_network(lab: Lab) -> None:
    bare = lab.add_node("bare", kind="bare", kernel="own")
    assert (bare.facts["network"], bare.facts["mtu"]) == ("external", 1500)
    bare.exec(["ping", "-c1", "-w60", lab.facts["far_address"]])
    lab.remove_node("bare")


def test_down_leaves_nothing_of_one_that_was_killed(lab: Lab) -> None:
    node = lab.node("node1")
    pid, number = node.pid, inode(node.namespace)
    assert pid
    assert number
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: node.pid is None, "the end of the VM's main process", 60)
    lab.down()
    assert traces(lab) == NOTHING
    assert all_of(lab.places.folder, [number]) == set()

"""`neutron-cni lab ...` as it is typed: what is printed, stdin, status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_node
from tests.openstack.plugin import call, config
from tests.openstack.state import leases

PROGRAM = Path(sys.prefix) / "bin" / "neutron-cni"


def typed(lab: Lab, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`neutron-cni lab WORDS`, the lab named by an option after the command's name."""
    command, *rest = words
    name = ["--name", lab.places.name]
    if command == "node":
        command, rest, name = "node", [rest[0], *name, *rest[1:]], []
    return subprocess.run(
        [PROGRAM, "lab", command, *name, *rest],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_exec_keeps_stdin_stdout_stderr_and_status(lab: Lab) -> None:
    done = typed(lab, "exec", "node1", "--", "sh", "-c", "cat; echo bad >&2; exit 7", stdin="a\nb")
    assert (done.stdout, done.stderr, done.returncode) == ("a\nb", "bad\n", 7)


def test_exec_passes_options_of_the_command_on(lab: Lab) -> None:
    done = typed(lab, "exec", "node1", "--", "echo", "--name", "x", "-c")
    assert done.stdout == "--name x -c\n"


def test_exec_on_a_node_that_is_not_there_is_a_sentence(lab: Lab) -> None:
    done = typed(lab, "exec", "nobody", "--", "true")
    assert done.returncode == 1
    assert "there is no node 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_parts_nodes_and_addresses(lab: Lab) -> None:
    done = typed(lab, "status")
    assert done.returncode == 0, done.stdout
    wanted = ["mariadb", "neutron", *lab.driver.pids, lab.facts["api_url"]]
    for node in lab.nodes:
        wanted += [node.name, node.address]
    assert [text for text in wanted if text not in done.stdout] == []
    assert "down" not in done.stdout


def test_logs_are_those_of_the_part_named(lab: Lab) -> None:
    done = typed(lab, "logs", "ovs-vswitchd")
    assert done.returncode == 0
    assert "bridge br-int" in done.stdout
    every = typed(lab, "logs").stdout
    assert all(f"{part}.log <==" in every for part in ("mariadb", "neutron", "node1"))
    none = typed(lab, "logs", "nobody")
    assert none.returncode == 1
    assert "There are:" in none.stderr
    assert "mariadb" in none.stderr


def test_env_is_what_a_shell_can_read(lab: Lab) -> None:
    lines = typed(lab, "env").stdout.splitlines()
    assert f"export OS_ENDPOINT={lab.facts['api_url']}" in lines
    assert all(line.startswith("export ") for line in lines)


def test_a_node_is_added_and_removed(lab: Lab) -> None:
    try:
        added = typed(lab, "node", "add", "typed", "--network", "dual")
        assert added.returncode == 0, added.stderr
        assert added.stdout.strip() == lab.node("typed").address
        refused = typed(lab, "node", "add", "typed", "--bare")
        assert refused.returncode == 1
        assert "a vm on network dual" in refused.stderr
    finally:
        removed = typed(lab, "node", "rm", "typed")
    assert removed.returncode == 0, removed.stderr
    assert "typed" not in [node.name for node in lab.nodes]
    assert typed(lab, "node", "rm", "typed").returncode == 0


@pytest.fixture
def switched(lab: Lab) -> Iterator[Node]:
    """A node that may be switched off, with a pod and files of its own."""
    node = new_node(lab, "tswitch")
    node.exec(["sh", "-c", "touch /var/lib/kept /etc/cni/net.d/kept /run/lost; ip netns add pod"])
    assert call(node, "ADD", "pod", config(quarantine=3600)).address
    yield node
    lab.remove_node("tswitch")


KEPT = ["ls", "/var/lib/kept", "/etc/cni/net.d/kept"]
BOOT_ID = ["cat", "/proc/sys/kernel/random/boot_id"]


def was_booted(lab: Lab, node: Node, before: str) -> None:
    """All that a reboot changes is changed, for the product as well, and nothing else."""
    node = lab.node(node.name)
    assert node.exec(BOOT_ID).stdout not in (before, Path(BOOT_ID[1]).read_text())
    node.exec(KEPT)
    left = node.exec(["sh", "-c", "ls /run /sys/class/net; ip netns"]).stdout.split()
    assert not {"lost", "pod"} & set(left)
    assert [name for name in left if name.startswith("veth")] == []
    assert [row["state"] for row in leases(lab, node)] == ["held"]
    assert "cooling" in node.exec(["neutron-cni", "leases", "--offline"]).stdout
    assert [row["state"] for row in leases(lab, node)] == ["cooling"]


def test_a_node_is_restarted(lab: Lab, switched: Node) -> None:
    before = switched.exec(BOOT_ID).stdout
    process = switched.popen(["sleep", "600"])
    done = typed(lab, "node", "restart", "tswitch")
    assert done.returncode == 0, done.stderr
    assert process.wait(timeout=120) != 0
    was_booted(lab, switched, before)


def test_a_node_is_stopped_stays_so_and_is_started(lab: Lab, switched: Node) -> None:
    before = switched.exec(BOOT_ID).stdout
    stopped = typed(lab, "node", "stop", "tswitch")
    assert stopped.returncode == 0, stopped.stderr
    lab.up()
    status = typed(lab, "status")
    assert (status.returncode, "stopped" in status.stdout) == (0, True)
    asked = typed(lab, "exec", "tswitch", "--", "true")
    assert asked.returncode == 1
    assert "node tswitch is stopped" in asked.stderr
    assert "lab node start tswitch" in asked.stderr

    started = typed(lab, "node", "start", "tswitch")
    assert started.returncode == 0, started.stderr
    was_booted(lab, switched, before)
    pid = lab.node("tswitch").pid
    assert typed(lab, "node", "start", "tswitch").returncode == 0
    assert lab.node("tswitch").pid == pid
    assert "stopped" not in typed(lab, "status").stdout


@pytest.mark.parametrize("command", ["restart", "stop", "start"])
@pytest.mark.parametrize("name", ["nobody", "internet", "router"])
def test_what_is_no_node_is_not_switched(lab: Lab, command: str, name: str) -> None:
    done = typed(lab, "node", command, name)
    assert done.returncode == 1
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_what_neutron_refuses_is_a_sentence(lab: Lab) -> None:
    done = typed(lab, "node", "add", "typed", "--network", "nowhere")
    assert done.returncode == 1
    assert "no network 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr

"""A lab with a Nova, as users bring it up and take it down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni_lab import Lab, LabError
from neutron_cni_lab.paths import name_for_checkout
from neutron_cni_lab.processes import running, wait_until
from tests.nova.servers import Port, attach, links
from tests.support.labs import NOTHING, traces

NAME = name_for_checkout("novatest")
PROGRAM = str(Path(sys.prefix) / "bin" / "neutron-cni")


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "lab", *words, "--name", NAME]
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
    """It is up, a VM and a Nova in it, also after a test that took it down."""
    if not (made.facts.get("up") and made.nova.pid):
        done = typed("up", "--nova")
        assert done.returncode == 0, done.stderr
        made.add_node("uml1", kernel="own")
    return made


def with_nic(lab: Lab, name: str) -> str:
    """Give the node a NIC; its MAC."""
    network = lab.connection().network
    made = network.create_port(network_id=lab.facts["networks"]["tenant"])
    attach(lab, lab.node(name), Port(made.id, made.mac_address, ""))
    assert made.mac_address in links(lab.node(name))
    return str(made.mac_address)


def test_status_logs_and_env_tell_of_nova(lab: Lab) -> None:
    status = typed("status")
    assert status.returncode == 0
    (line,) = [line for line in status.stdout.splitlines() if "│ nova " in line]
    assert line.split()[3:6] == [str(lab.nova.pid), "│", "up"]
    assert lab.facts["nova_url"] in status.stdout
    assert "nova.api.openstack" in typed("logs", "nova").stdout
    url = lab.facts["nova_url"]
    assert f"export OS_COMPUTE_ENDPOINT_OVERRIDE={url}\n" in typed("env").stdout


def test_env_is_enough_on_the_host(lab: Lab) -> None:
    code = "import openstack; print(*sorted(s.name for s in openstack.connect().compute.servers()))"
    script = f'eval "$({PROGRAM} lab env --name {NAME})" && {sys.executable} -W ignore -c "{code}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [node.name for node in lab.nodes]


def test_a_node_that_is_added_is_a_server_and_one_that_is_removed_is_none(lab: Lab) -> None:
    compute = lab.connection().compute
    node = lab.add_node("more")
    assert compute.get_server(node.server_id).status == "ACTIVE"
    assert lab.connection().network.get_port(node.port_id).device_id == node.server_id
    lab.remove_node("more")
    assert compute.find_server(node.server_id, ignore_missing=True) is None
    bare = lab.add_node("bare", kind="bare")
    with pytest.raises(LabError, match="bare is no server"):
        _ = bare.server_id
    lab.remove_node("bare")


def test_a_node_with_another_port_is_another_server(lab: Lab) -> None:
    old = lab.add_node("more")
    new = lab.replace_port("more")
    assert new.server_id != old.server_id
    assert lab.connection().compute.find_server(old.server_id, ignore_missing=True) is None
    document = "http://169.254.169.254/openstack/latest/meta_data.json"
    assert new.server_id in new.exec(["curl", "-sS", "-m60", document]).stdout
    lab.remove_node("more")


def test_up_brings_back_nova_and_nodes_that_were_killed_with_their_nics(lab: Lab) -> None:
    macs = {name: with_nic(lab, name) for name in ("node1", "uml1")}
    victims = [lab.nova.pid, *(lab.node(name).pid for name in macs)]
    for pid in filter(None, victims):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: lab.node("uml1").pid is None, "the end of the VM", 60)
    assert typed("status").returncode == 1
    done = typed("up")
    assert done.returncode == 0, done.stderr
    assert {name: mac in links(lab.node(name)) for name, mac in macs.items()} == {
        "node1": True,
        "uml1": True,
    }


def test_down_leaves_nothing_also_of_nics_and_of_a_nova_that_was_killed(lab: Lab) -> None:
    for name in ("node1", "uml1"):
        with_nic(lab, name)
    pid = lab.nova.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    lab.down()
    assert traces(lab) == NOTHING


def test_down_leaves_nothing_of_an_up_that_was_killed_while_nova_began(made: Lab) -> None:
    made.down()
    with subprocess.Popen([PROGRAM, "lab", "up", "--nova", "--name", NAME]) as up:
        began = "neutron_cni_lab.nova.inside.wsgi"
        wait_until(lambda: bool(running(made.places.folder, began)), "Nova to begin", 300)
        up.kill()
    made.down()
    assert traces(made) == NOTHING

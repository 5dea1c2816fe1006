"""`neutron-cni gc --node`: what a node that is gone left, and which nodes there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from neutron_cni.cli import app, gc
from neutron_cni.ipam.audit import leavings
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import Fault
from tests.reliability.scene import Host, Scene
from tests.unit.ipam.test_survey import held


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Nodes worker-1 and worker-2 of cluster blue have a reserving port each."""
    with Scene(tmp_path / "scene") as scene:
        host = Host(scene, "node")
        for name in ("worker-1", "worker-2"):
            config = host.config(Mode.PORT, quarantine=0) | {"cluster": "blue", "node": name}
            held(msgspec.convert(config, IpamConfig), f"on-{name}")
        yield host


def looked(host: Host, *words: str) -> list[str]:
    config = host.config(Mode.PORT)
    words = (*words, "--node-is-gone", "--cloud", config["cloud"])
    words = (*words, "--clouds-file", config["cloudsFile"])
    # From another machine than those nodes, whose own leases are not for others to remove.
    words = (*words, "--state-dir", str(host.state_dir / "other"), "--conf-dir", "/nonexistent")
    done = CliRunner().invoke(app.build(), ["gc", "--node", *words])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_of_a_node_that_no_port_names_the_others_are_named(host: Host) -> None:
    """A name with a typo has nothing to remove either."""
    assert looked(host, "workre-2") == [
        "no port carries the tag of node workre-2",
        "nodes seen: worker-2, worker-1",
        "nothing to do",
    ]
    assert looked(host, "worker-2", "--cluster", "red") == [
        "no port carries the tag of node worker-2 in cluster red",
        "nodes seen in cluster red: none",
        "nothing to do",
    ]
    assert "no port" not in "".join(looked(host, "worker-1"))


def test_how_to_detach_a_nic_that_a_server_has_is_said(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leavings, "MIN_AGE_SECONDS", -1.0)
    config = host.config(Mode.NOVA_INTERFACE) | {"node": "rebuilt"}
    held(msgspec.convert(config, IpamConfig), "pod")
    (port,) = [port for port in host.scene.reserves() if port["device_id"] == host.server.id]
    kept = looked(host, "rebuilt", "--apply")[0]
    assert kept.endswith(f"openstack server remove port {host.server.id} {port['id']}")
    assert host.scene.port(port["id"])


def test_of_many_nodes_those_most_like_the_name_are_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "MOST_NAMES", 1)
    assert "nodes seen: worker-2 and 1 more" in looked(host, "workre-2")


def test_the_port_of_a_vm_that_one_look_does_not_show_keeps_its_pods_ports(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leavings, "MIN_AGE_SECONDS", -60.0)
    config = host.config(Mode.ADDRESS_PAIRS, quarantine=0) | {"node": "worker-3"}
    held(msgspec.convert(config, IpamConfig), "on-worker-3")
    faults = host.scene.neutron.faults
    faults.add(Fault("GET", f"/ports/{host.port_id}", status=404, times=1))
    nothing = json.dumps({"ports": []})
    faults.add(Fault("GET", "/ports$", status=200, body=nothing, skip=1, times=1))
    assert f"the VM's port {host.port_id} still exists" in "".join(looked(host, "worker-3"))


def test_the_port_of_a_nic_stays_as_long_as_a_server_has_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leavings, "MIN_AGE_SECONDS", -60.0)
    config = host.config(Mode.NOVA_INTERFACE) | {"node": "worker-3"}
    held(msgspec.convert(config, IpamConfig), "on-worker-3")
    said = "".join(looked(host, "worker-3", "--apply"))
    assert f"server {host.server.id} still has it as a NIC" in said
    for port in host.scene.reserves():  # Nova gives them back when the server is deleted
        if port["device_id"] == host.server.id:
            host.scene.neutron.cloud.ports[port["id"]] |= {"device_id": "", "device_owner": ""}
    looked(host, "worker-3", "--apply")
    names = {tag for port in host.scene.reserves() for tag in port["tags"]}
    assert "ncni-node=worker-3" not in names
    assert "ncni-node=worker-1" in names

"""`./demo ipvlan` tells the truth: it passes where all is well, and only there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod, show_ipvlan
from neutron_cni_lab.demo.ipvlan import IpvlanScene
from neutron_cni_lab.demo.pod import CONF_DIR


@pytest.fixture
def scene(lab: Lab, vm1: Node, vm2: Node) -> Iterator[IpvlanScene]:
    """On the VMs of the worker, which have nothing of the demo when it is over."""
    scene = IpvlanScene(lab, (vm1.name, vm2.name))
    try:
        yield scene
    finally:
        for floating in lab.connection().network.ips(description="neutron-cni demo"):
            lab.connection().network.delete_ip(floating)
        scene.install()  # DEL needs the network, also after a run that ended before.
        for pod in (*scene.pods, Pod(vm1, "pod4", scene.network)):
            pod.delete()
        for node in (vm1, vm2):
            node.exec(["rm", "-f", f"{CONF_DIR}/{scene.conflist}"])


def shown(
    lab: Lab, scene: IpvlanScene, capsys: pytest.CaptureFixture[str]
) -> tuple[bool, list[str], str]:
    """Whether it passed, the rows of its table, and all it printed."""
    passed = show_ipvlan(lab, time.time(), (scene.node1.name, scene.node2.name))
    text = capsys.readouterr().out
    table = text.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 100
    return passed, [line for line in table[2:] if not line.startswith(" ")], text


def test_all_rows_are_ok_and_without_port_security_one_is_not(
    lab: Lab, scene: IpvlanScene, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time finds the pods of the first."""
    passed, rows, text = shown(lab, scene, capsys)
    assert passed, text
    assert len(rows) == 22
    assert all(" ok " in row for row in rows), text
    assert all(pod.address in text.partition("Left running")[2] for pod in scene.pods)
    network, groups = lab.connection().network, [lab.facts["security_group_id"]]
    port = scene.node1.port_id
    network.update_port(port, port_security_enabled=False, security_groups=[])
    try:
        passed, rows, text = shown(lab, scene, capsys)
    finally:
        network.update_port(port, port_security_enabled=True, security_groups=groups)
    assert not passed
    assert any("forged source" in row and " FAIL " in row for row in rows), text

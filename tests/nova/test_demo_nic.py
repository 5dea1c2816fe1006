"""`./demo nic` tells the truth: it passes where all is well, only there, and leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import show_nic
from neutron_cni_lab.demo.nic import checks
from neutron_cni_lab.demo.nic_scene import NicScene
from neutron_cni_lab.demo.pod import CONF_DIR
from neutron_cni_lab.demo.show import show


@pytest.fixture
def scene(lab: Lab, vm: Node) -> Iterator[NicScene]:
    """On the VM, which has nothing of the demo when it is over."""
    scene = NicScene(lab, (vm.name, "node2"))
    try:
        yield scene
    finally:
        scene.end()
        vm.exec(["rm", "-f", f"{CONF_DIR}/{scene.conflist}"])


def shown(scene: NicScene, capsys: pytest.CaptureFixture[str]) -> tuple[bool, list[str], str]:
    """Whether it passed, the rows of its table, and all it printed."""
    passed = show_nic(scene.lab, time.time(), (scene.node1.name, scene.node2.name))
    text = capsys.readouterr().out
    table = text.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 100
    return passed, [line for line in table[2:] if not line.startswith(" ")], text


def test_all_rows_are_ok_and_nothing_is_left(
    scene: NicScene, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scene.everything()
    passed, rows, text = shown(scene, capsys)
    assert passed, text
    assert len(rows) == 22
    assert all(" ok " in row for row in rows), text
    assert scene.everything() == before


def test_a_group_that_does_not_filter_and_changes_that_stay_are_told(
    scene: NicScene, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {check.what: check for check in checks(scene.node1.name, scene.node2.name)}
    wanted = [named[what] for what in ("cnitool add", "group closed", "nothing left")]
    scene.begin()
    scene.open_group()
    scene.before |= {"NIC gone"}
    assert not show(wanted, scene, lambda _: "", time.time())
    added, closed, left = capsys.readouterr().out.splitlines()[2:5]
    assert " ok " in added
    assert " FAIL 3 of 3 pings answered" in closed
    assert " FAIL - NIC gone" in left

"""The node of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam import status as module
from neutron_cni.ipam.audit import capacity
from neutron_cni.openstack import patience
from tests.fakes import FakeKeystone
from tests.reliability.scene import Host, Scene
from tests.support.openstack_doubles import Waits
from tests.unit.ipam.status.place import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A node whose cloud is well and was never asked. Pauses between calls take no time."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr(patience, "time", Waits())
    with Scene(tmp_path / "scene") as scene, FakeKeystone(scene.neutron.url) as keystone:
        keystone.compute_url = scene.neutron.url
        scene.neutron.token = keystone.token
        made = Place(scene, Host(scene, "node"), keystone)
        made.write_clouds()
        for reader in (module, capacity):
            monkeypatch.setattr(reader, "time", made.clock.as_module())
        monkeypatch.setattr(module, "random", lambda: 0.5)
        yield made

"""The VM of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni.values.ipam_config import Mode
from tests.reliability.scene import Scene
from tests.unit.ipam.former_port.vm import Vm, make


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cloud."""
    with Scene(tmp_path / "scene") as made:
        yield made


@pytest.fixture
def vm(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """A VM in mode `fixed-ips`."""
    return make(scene, Mode.FIXED_IPS, monkeypatch)

"""A cloud, a client of it, and waits that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni.openstack import patience
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from tests.fakes import FakeNeutron
from tests.support.openstack_doubles import Waits


@pytest.fixture
def fake() -> Iterator[FakeNeutron]:
    with FakeNeutron() as fake:
        yield fake


@pytest.fixture
def neutron(fake: FakeNeutron, tmp_path: Path) -> Neutron:
    return Neutron.connect("fake", str(fake.write_clouds_yaml(tmp_path)), Deadline.after(60))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(patience, "time", waits)
    return waits

"""A runtime's GC and what an operator attached: it is not in the runtime's list, and lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.store import State, Store
from neutron_cni.values.attachment import BY_HAND, Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(sweeper, "start_sweeper", lambda config: None)
    with Scene(tmp_path / "scene") as scene:
        yield Host(scene, "node")


def states_after_gc(host: Host, netns: Path) -> dict[str, State]:
    """Of a lease by hand and of a runtime's, whose namespaces are that file."""
    config = msgspec.convert(host.config(Mode.FIXED_IPS, quarantine=300), IpamConfig)
    for container in ("c1", f"{BY_HAND}c2"):
        attachment = Attachment(container, "eth0", str(netns))
        own_ipam().acquire(IpamRequest("net", attachment, config, Deadline.after(60)))
    if netns.name == "gone":
        netns.unlink()
    own_ipam().collect("net", config, frozenset(), Deadline.after(60))
    with Store(str(host.state_dir)) as store:
        return {record.attachment.container_id: record.state for record in store.all()}


def test_it_keeps_its_address_while_its_namespace_lives(host: Host, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    states = states_after_gc(host, tmp_path / "there")
    assert states == {"c1": State.COOLING, f"{BY_HAND}c2": State.HELD}


def test_it_loses_it_with_its_namespace(host: Host, tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    states = states_after_gc(host, tmp_path / "gone")
    assert set(states.values()) == {State.COOLING}

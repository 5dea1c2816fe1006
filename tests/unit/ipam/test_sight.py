"""Whether every pod can be seen from where `gc` runs; if not, nothing is released."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neutron_cni.ipam import node, service, sweeper
from neutron_cni.ipam.audit import compare, mend, sight
from neutron_cni.ipam.audit.sight import blind_spot
from neutron_cni.store import State, Store
from neutron_cni.store.sandbox import own_view
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene
from tests.unavailable import needs
from tests.unit.ipam.test_configured import cli, state
from tests.unit.ipam.test_survey import held

UNSHARE = ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else [])]
HERE = "pid:1 mnt:2 net:3"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store, looked at from the namespaces HERE; processes are in the mount namespaces 2 and 4"""
    monkeypatch.setattr(sight, "own_view", lambda: HERE)
    monkeypatch.setattr(node, "mount_namespaces", lambda: {2: Path(), 4: Path()})
    with Store(str(tmp_path / "state")) as store:
        yield store


@pytest.mark.parametrize(
    ("runtimes", "ours", "said"),
    [
        (HERE, HERE, ""),
        ("pid:1 mnt:4 net:3", HERE, ""),
        ("pid:1 mnt:9 net:3", HERE, "no process is where the runtime had its mounts"),
        ("pid:7 mnt:2 net:3", HERE, "another pid namespace"),
        ("pid:1 mnt:2 net:7", HERE, "another network namespace"),
        (None, HERE, "another pid namespace"),
        (None, "pid:4026531836 mnt:2 net:5", ""),
        (None, "pid:4026531836 mnt:2 net:3", "another network namespace than process 1"),
        ("pid:7 mnt:4 net:3", "pid:4026531836 mnt:2 net:3", ""),
        ("pid:7 mnt:2 net:7", "pid:4026531836 mnt:2 net:3", "another network namespace"),
    ],
)
def test_what_can_be_proven(
    store: Store, monkeypatch: pytest.MonkeyPatch, runtimes: str | None, ours: str, said: str
) -> None:
    """`runtimes`: the namespaces of the last ADD. The first pid namespace sees all others."""
    monkeypatch.setattr(sight, "own_view", lambda: ours)
    monkeypatch.setattr(node, "network_of_first_process", lambda: 5)
    store.remember(service.VIEW, runtimes)
    found = blind_spot(store)
    assert said in found
    assert bool(said) == bool(found)


def test_before_the_first_add_who_can_not_see_the_first_process_is_blind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight, "own_view", lambda: "pid:4026531836 mnt:2 net:0")
    monkeypatch.setattr(node, "network_of_first_process", lambda: 0)
    assert "/proc/1/ns/net can't be read" in blind_spot(store)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A node with one lease, whose namespace is gone, seen from a container."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(mend, "remove_stale_entries", lambda: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr(compare, "YOUNG_SECONDS", -1.0)
    monkeypatch.setattr(sight, "own_view", lambda: HERE)
    with Scene(tmp_path / "scene") as scene:
        host = Host(scene, "node")
        held(msgspec.convert(host.config(Mode.FIXED_IPS, quarantine=300), IpamConfig), "c1")
        yield host


def test_gc_that_does_not_see_all_pods_releases_nothing_unless_told(host: Host) -> None:
    looked = cli(host, "gc")
    assert looked.exit_code == 1
    assert "would release" in looked.output
    assert "another pid namespace" in looked.output
    refused = cli(host, "gc", "--apply")
    assert (refused.exit_code, state(host)) == (1, State.HELD)
    assert "nothing was released: this process has another pid namespace" in refused.output
    assert "hostPID" in refused.output
    told = cli(host, "gc", "--apply", "--view-is-whole")
    assert (told.exit_code, state(host)) == (0, State.COOLING)


def test_gc_right_after_the_upgrade_takes_no_address_from_a_pod_it_can_not_see(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container with hostPID, but with a network of its own; no ADD has noted a view yet."""
    monkeypatch.setattr(sight, "own_view", lambda: "pid:4026531836 mnt:99 net:99")
    monkeypatch.setattr(node, "network_of_first_process", lambda: 5)
    with Store(str(host.state_dir)) as store:
        store.remember(service.VIEW, None)
    refused = cli(host, "gc", "--apply")
    assert (refused.exit_code, state(host)) == (1, State.HELD)
    assert "nothing was released: this process has another network namespace" in refused.output
    monkeypatch.setattr(node, "network_of_first_process", lambda: 99)
    assert (cli(host, "gc", "--apply").exit_code, state(host)) == (0, State.COOLING)


@needs("mounts of one process")
def test_a_container_of_its_own_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with Store(str(folder)) as store:
        service._note_view(store)
        assert store.fact(service.VIEW) == own_view()
        assert blind_spot(store) == ""
    code = (
        "import sys; from neutron_cni.ipam.audit.sight import blind_spot;"
        "from neutron_cni.store import Store; print(blind_spot(Store(sys.argv[1])))"
    )
    for kinds, said in {
        ("--pid", "--fork", "--mount-proc"): "another pid namespace",
        ("--net",): "another network namespace",
    }.items():
        done = subprocess.run(
            [*UNSHARE, *kinds, sys.executable, "-c", code, folder],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout

"""A full disk under the state folder, at any moment of a call: a clear error, nothing half done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import Mode
from tests.reliability.invariants import leaks
from tests.reliability.jobs import Job, Outcome
from tests.reliability.scene import Host, Scene, addresses_on
from tests.unavailable import needs

UNSHARE = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
SIZE = "512k"
PAGE = 4096

pytestmark = needs("mounts of one process")


class SmallDisk:
    """A process with a small disk for a node's state folder."""

    def __init__(self, host: Host) -> None:
        self._process = subprocess.Popen(
            [*UNSHARE, sys.executable, "-m", "tests.reliability.full_disk", host.state_dir, SIZE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def close(self) -> None:
        """The disk goes with the process."""
        self._process.communicate()

    def ask(self, command: Any) -> Any:
        """One command, and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process with the small disk is gone"
        return json.loads(line)

    def run(self, job: Job) -> Outcome:
        """A job on that disk."""
        return msgspec.convert(self.ask(msgspec.to_builtins(job)), Outcome)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path / "scene") as scene:
        yield scene


@pytest.mark.parametrize("mode", list(Mode))
def test_a_full_disk_at_any_moment_leaves_nothing_half_done(scene: Scene, mode: Mode) -> None:
    host = Host(scene, "node")
    config = host.config(mode, quarantine=0)
    disk = SmallDisk(host)
    failures = 0
    try:
        for pages in (0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 20):
            failures += fill_and_use(scene, host, config, disk, pages)
        assert disk.ask("rows") == []
    finally:
        disk.close()
    assert failures >= 8
    assert leaks(scene, [host], []) == []


def fill_and_use(
    scene: Scene, host: Host, config: dict[str, Any], disk: SmallDisk, pages: int
) -> int:
    """ADD and DEL on a disk with so many pages free, then with room; how many calls failed."""
    held, wanted = f"held{pages}", f"wanted{pages}"
    for container in (held, wanted):
        host.namespaces.make(container)
    assert disk.run(host.job("add", config, held)).ok
    disk.ask(pages * PAGE)
    added = disk.run(host.job("add", config, wanted))
    deleted = disk.run(host.job("del", config, held))
    failed = [outcome for outcome in (added, deleted) if not outcome.ok]
    for outcome in failed:
        assert outcome.code == Code.STORE, outcome.error
        assert "full" in outcome.error or "disk" in outcome.error
    disk.ask("free")
    again = disk.run(host.job("add", config, wanted))
    assert again.ok, again.error
    assert added.addresses in ([], again.addresses)
    assert ip_address(again.addresses[0]) in addresses_in(scene, host)
    for container in (held, wanted):
        assert disk.run(host.job("del", config, container)).ok
    for _ in range(3):
        scene.pass_time(121)
        assert disk.run(host.job("sweep", config)).ok
    return len(failed)


def addresses_in(scene: Scene, host: Host) -> list[Any]:
    """Every address that is reserved, the VM's own too."""
    ports = [scene.port(host.port_id), *scene.reserves()]
    return [address for port in ports for address in addresses_on(port)]

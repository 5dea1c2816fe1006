"""An address rests before it is used again, and a real sweeper process gives it back after that."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.modes import MODES
from neutron_cni.store import Store
from neutron_cni.store.giving_back import ABSENCE_SECONDS
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from tests.reliability.life import QUARANTINE
from tests.reliability.scene import Host, Scene, addresses_on
from tests.unit.conftest import LifeMaker

RESTING = pytest.mark.parametrize(
    "mode", [mode for mode in Mode if mode is not Mode.NOVA_INTERFACE]
)
PATIENCE = 120.0
"""Seconds after which what a test waits for does not come: more than a busy machine takes."""
LONG = 3600.0
"""A rest that is over when the test says so, and not before."""


@RESTING
def test_an_address_is_not_used_again_before_its_rest_is_over(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode, "10.9.0.0/29")
    room = len(life.scene.free())
    for _ in range(room):
        assert life.add().ok
    freed = life.live[life.host.name, life.containers[0]]
    assert life.delete(life.containers[0]).ok
    for seconds in (0, QUARANTINE / 2, QUARANTINE / 2 - 2):
        life.pass_time(seconds)
        life.sweep()
        outcome = life.add()
        assert outcome.code == Code.EXHAUSTED
        life.delete(f"c{life.number}")
    life.pass_time(3)
    life.sweep()
    life.pass_time(ABSENCE_SECONDS + 1)
    life.sweep()
    assert life.add().addresses == [str(freed[0])]
    assert life.end() == []


@RESTING
def test_the_rest_goes_on_over_a_restart_and_a_reboot(new_life: LifeMaker, mode: Mode) -> None:
    life = new_life(mode, "10.9.0.0/29")
    assert life.add().ok
    (address,) = life.live[life.host.name, "c1"]
    assert life.delete("c1").ok
    life.pass_time(QUARANTINE - 5)
    life.reboot()
    life.sweep(kill_at=300)
    life.sweep()
    assert str(address) in reserved(life.scene, life.host)
    life.pass_time(6)
    life.sweep()
    assert str(address) not in reserved(life.scene, life.host)


def test_a_nic_does_not_rest(new_life: LifeMaker) -> None:
    """It would take one of the VM's few places."""
    life = new_life(Mode.NOVA_INTERFACE)
    assert life.add().ok
    assert life.delete("c1").ok
    life.sweep()
    assert life.scene.reserves() == []


def test_a_requested_address_that_rests_can_be_had_again_later(new_life: LifeMaker) -> None:
    life = new_life()
    wanted = str(life.scene.free()[-1])
    assert life.add(requested=[wanted]).addresses == [wanted]
    life.delete(life.containers[0])
    outcome = life.add(requested=[wanted])
    assert outcome.code == Code.TRY_AGAIN
    assert "rests" in outcome.error
    for seconds in (QUARANTINE + 1, ABSENCE_SECONDS + 1):
        life.pass_time(seconds)
        life.sweep()
    assert life.add(requested=[wanted]).ok
    assert life.end() == []


def reserved(scene: Scene, host: Host) -> set[str]:
    """What Neutron would give to nobody."""
    ports = [scene.port(host.port_id), *scene.reserves()]
    return {str(address) for port in ports for address in addresses_on(port)}


class RealNode:
    """Calls in this process, the sweeper a process of its own, time as it is."""

    def __init__(self, scene: Scene, mode: Mode, quarantine: float) -> None:
        self.scene = scene
        self.host = Host(scene, "node")
        self.job = self.host.job("add", self.host.config(mode, quarantine=quarantine))
        self.config = self.job.ipam()
        self.anchor = MODES[self.config.mode].anchor(self.config, "")

    def request(self, container: str) -> IpamRequest:
        return IpamRequest(
            "net", Attachment(container, "eth0"), self.config, Deadline.after(PATIENCE)
        )

    def add(self, container: str) -> str:
        return str(own_ipam().acquire(self.request(container)).addresses[0].address.ip)

    def delete(self, container: str) -> None:
        own_ipam().release(self.request(container))

    def sweepers(self) -> list[int]:
        """Processes that sweep for this node."""
        wanted = [b"neutron_cni.ipam.sweeper", str(self.host.state_dir).encode()]
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if all(word in line for word in wanted):
                found.append(int(entry.name))
        return found

    def kill_sweeper(self) -> None:
        """The one that there is; returns when the kernel has taken back its locks as well."""
        until(lambda: len(self.sweepers()) == 1)
        (pid,) = self.sweepers()
        os.kill(pid, signal.SIGKILL)
        until(lambda: has_ended(pid))

    def end_rests(self) -> None:
        """Every address that rests has rested enough."""
        with closing(sqlite3.connect(self.host.store_file, timeout=PATIENCE)) as database, database:
            database.execute("UPDATE lease SET until = 0 WHERE state = 'cooling'")

    def sweepers_error(self) -> str | None:
        """Why the sweeper's last try was in vain."""
        with Store(str(self.host.state_dir)) as store:
            return store.fact(f"sweep|{self.anchor}")

    def is_empty(self) -> bool:
        with Store(str(self.host.state_dir)) as store:
            rows = store.all()
        return not rows and reserved(self.scene, self.host) == set(map(str, self.host.own))


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[Callable[..., RealNode]]:
    nodes: list[RealNode] = []
    with Scene(tmp_path / "scene") as scene:

        def make(mode: Mode, quarantine: float = 0.3) -> RealNode:
            nodes.append(RealNode(scene, mode, quarantine))
            return nodes[-1]

        yield make
        for node in nodes:
            for pid in node.sweepers():
                os.kill(pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether nothing is left of the process but what its parent may ask for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until(what: Callable[[], object]) -> None:
    """Wait for it, not for ever."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


@RESTING
def test_the_sweeper_gives_back_and_ends(new_node: Callable[..., RealNode], mode: Mode) -> None:
    node = new_node(mode)
    for number in range(4):
        node.add(f"c{number}")
    for number in range(4):
        node.delete(f"c{number}")
        assert len(node.sweepers()) <= 4
    until(node.is_empty)
    until(lambda: not node.sweepers())


def test_a_killed_sweeper_is_started_again_by_whatever_comes_next(
    new_node: Callable[..., RealNode],
) -> None:
    node = new_node(Mode.FIXED_IPS, quarantine=LONG)
    node.add("one")
    node.delete("one")
    for call in (lambda: node.add("two"), lambda: node.delete("nobody")):
        node.kill_sweeper()
        call()
    until(lambda: len(node.sweepers()) == 1)
    node.delete("two")
    node.end_rests()
    until(node.is_empty)


def test_the_sweeper_outlives_neutrons_absence(new_node: Callable[..., RealNode]) -> None:
    node = new_node(Mode.FIXED_IPS, quarantine=0.0)
    node.add("one")
    node.scene.neutron.stop()
    node.delete("one")
    with pytest.raises(CniError) as caught:
        node.add("two")
    assert caught.value.code == Code.TRY_AGAIN
    until(node.sweepers_error)
    node.scene.neutron.resume()
    until(node.is_empty)


def test_a_del_at_the_sweepers_last_look_is_not_forgotten(
    new_node: Callable[..., RealNode],
) -> None:
    """DELs at every moment of its end: each either finds it at work or starts another."""
    node = new_node(Mode.FIXED_IPS, quarantine=0.0)
    for number in range(12):
        node.add("c")
        node.delete("c")
        time.sleep(0.05 * (number % 6))
    until(node.is_empty)

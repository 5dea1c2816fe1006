"""STATUS on a node over hours: what it answers, and how often it asks the cloud for it."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import absence, node, readiness, settling, sweeper
from neutron_cni.ipam import status as module
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit import capacity
from neutron_cni.ipam.audit.capacity import Left, left
from neutron_cni.ipam.lock import FileLock, anchor_lock
from neutron_cni.ipam.modes import fixed_ips
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.room import Capacity
from neutron_cni.ipam.status import last_look, status
from neutron_cni.netlink.facts import Uplink
from neutron_cni.openstack import patience
from neutron_cni.store import Store
from neutron_cni.store.store import boot_id
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import FakeKeystone, Fault
from tests.fakes.faults import FOREVER
from tests.fakes.keystone import SECRET
from tests.reliability.scene import Host, Scene
from tests.support.openstack_doubles import Waits

PAUSE = absence.pause
"""The real one, which other tests do without."""
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


@dataclass
class Clock:
    """The machine's clocks, which stand still until a test moves them."""

    now: float = 5000.0

    def as_module(self) -> Any:
        return SimpleNamespace(
            time=lambda: 1_700_000_000 + self.now,
            clock_gettime=lambda which: self.now,
            CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
            sleep=time.sleep,
        )


@dataclass
class Place:
    """A node, its cloud with a Keystone, and its clock."""

    scene: Scene
    host: Host
    keystone: FakeKeystone
    clock: Clock = field(default_factory=Clock)

    def section(self, mode: Mode = Mode.FIXED_IPS, **more: Any) -> dict[str, Any]:
        clouds = {"cloud": "c", "cloudsFile": str(self.host.folder / "clouds.yaml")}
        return self.host.config(mode, **clouds, **more)

    def config(self, mode: Mode = Mode.FIXED_IPS, **more: Any) -> IpamConfig:
        return msgspec.convert(self.section(mode, **more), IpamConfig)

    def write_clouds(self, secret: str = SECRET) -> None:
        names = ("project_name", "user_domain_name", "project_domain_name")
        auth = {"auth_url": f"{self.keystone.url}/v3", "username": "u", "password": secret}
        cloud = {"auth": auth | dict.fromkeys(names, "x")}
        (self.host.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"c": cloud}}))

    def ask(self, config: IpamConfig | None = None) -> list[str]:
        """What STATUS notes where it says yes. Raises CniError where it says no."""
        return status(config or self.config(), Deadline.after(10))

    def refused(self, config: IpamConfig | None = None) -> str:
        """What STATUS says where it says no."""
        with pytest.raises(CniError) as caught:
            self.ask(config)
        assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE
        return str(caught.value)

    def calls(self) -> tuple[int, int]:
        """How often Neutron and Keystone were asked."""
        return self.scene.neutron.calls.total(), self.keystone.calls


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A node whose cloud is well and was never asked. Pauses between calls take no time."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr(patience, "time", Waits())
    with Scene(tmp_path / "scene") as scene, FakeKeystone(scene.neutron.url) as keystone:
        scene.neutron.token = keystone.token
        made = Place(scene, Host(scene, "node"), keystone)
        made.write_clouds()
        for reader in (module, capacity):
            monkeypatch.setattr(reader, "time", made.clock.as_module())
        monkeypatch.setattr(module, "random", lambda: 0.5)
        yield made


# How often the cloud is asked


@pytest.mark.parametrize(
    ("mode", "calls"),
    [(Mode.FIXED_IPS, 4), (Mode.PORT, 5), (Mode.ADDRESS_PAIRS, 5)],
    ids=lambda value: str(value),
)
def test_the_cloud_is_asked_once_a_minute_and_keystone_once_in_all(
    place: Place, mode: Mode, calls: int
) -> None:
    config = place.config(mode)
    assert place.ask(config) == []
    neutron, keystone = place.calls()
    # That ports can be tagged in this cloud is asked once an hour.
    assert neutron == calls + 1
    for _ in range(11):  # every five seconds, as containerd does
        place.clock.now += 5
        assert place.ask(config) == []
    assert place.calls() == (neutron, keystone)
    place.clock.now += 5
    assert place.ask(config) == []
    assert place.calls() == (neutron + calls, keystone)
    assert place.keystone.logins == 1


def test_an_add_a_check_and_a_del_after_it_need_no_login_of_their_own(place: Place) -> None:
    place.ask()
    before = place.keystone.calls
    attachment = Attachment("container", "eth0", "/run/netns/none")
    request = IpamRequest("net", attachment, place.config(quarantine=0), Deadline.after(20))
    ipam = own_ipam()
    ipam.acquire(request)
    assert ipam.verify(request) == []
    ipam.release(request)
    assert place.keystone.calls == before


def test_a_status_that_asks_no_cloud_imports_nothing_that_could(place: Place) -> None:
    """The whole call, as the launcher runs it."""
    config = place.config()
    with Store(config.state_dir) as store:
        now = module._moment(store)
        look = readiness.Look(
            boot=now.boot,
            asked=time.clock_gettime(time.CLOCK_BOOTTIME),
            clock=time.time(),
            jitter=1.0,
            files=module._state_of_files(config),
            capacity=Capacity(()),
        )
        store.remember(module._key(config), readiness.encode(look))
    document = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "cni-ipam-neutron",
        "ipam": place.section(),
    }
    program = (
        "import sys\n"
        "from neutron_cni.hosts.call import run\n"
        "print(run('cni-ipam-neutron', {'CNI_COMMAND': 'STATUS', 'CNI_PATH': '/opt/cni/bin'},"
        f" {json.dumps(document).encode()!r}))\n"
        "print([m for m in sys.modules if m.startswith(('openstack', 'keystoneauth1', 'requests',"
        " 'urllib3', 'pyroute2', 'neutron_cni.openstack'))])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.decode().splitlines() == [
        "Answer(status=0, stdout=b'', stderr='')",
        "[]",
    ]
    assert place.calls() == (0, 0)


def test_other_credentials_are_tried_at_once(place: Place) -> None:
    place.ask()
    place.write_clouds("wrong")
    assert "refused our credentials" in place.refused()
    place.write_clouds()
    assert place.ask() == []


def test_another_configuration_is_asked_for_at_once(place: Place) -> None:
    place.ask()
    (note,) = place.ask(place.config(subnets=["nosuch"]))
    assert "no subnets named nosuch" in note
    assert place.ask() == []


def test_options_that_are_not_asked_about_cost_no_look(place: Place) -> None:
    place.ask()
    before = place.calls()
    place.ask(place.config(quarantine=5, timeout=20, statusPatience=5, capacityInStatus=True))
    assert place.calls() == before


# While the cloud is away


def away(place: Place) -> None:
    place.scene.neutron.stop()


def limited(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=429, times=FOREVER, retry_after="30"))


def failing(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=503, times=FOREVER))


def behind_a_gateway(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=404, times=FOREVER))
    place.scene.neutron.faults.add(Fault(status=404, times=FOREVER, body="<html>no</html>"))


def in_another_shape(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=200, times=FOREVER, body='{"ports": {}}'))


def without_keystone(place: Place) -> None:
    place.scene.neutron.token = "another"
    place.keystone.status = 503


def refused_by_a_gateway(place: Place) -> None:
    place.scene.neutron.faults.add(Fault(status=403, times=FOREVER, body="<html>no</html>"))


TROUBLES = [
    away,
    limited,
    failing,
    in_another_shape,
    without_keystone,
    refused_by_a_gateway,
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_the_cloud_is_a_note_until_it_outlasts_the_patience(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    assert place.ask() == []
    place.clock.now += 61
    trouble(place)
    began = place.clock.now
    while place.clock.now < began + 600:
        (note,) = place.ask()
        assert "the cloud can't be asked" in note
        place.clock.now += 60
    said = place.refused()
    assert "`statusPatience` is 600" in said


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_node_that_never_reached_its_cloud_says_so_at_once(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    trouble(place)
    assert "this node has never had an answer of its cloud" in place.refused()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_patience_trouble_is_an_error_at_once(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    impatient = place.config(statusPatience=0)
    assert place.ask(impatient) == []
    place.clock.now += 61
    trouble(place)
    place.refused(impatient)


def test_a_cloud_that_is_back_is_seen_within_seconds(place: Place) -> None:
    place.ask()
    place.clock.now += 61
    away(place)
    place.ask()
    place.clock.now += 601
    place.refused()
    place.scene.neutron.resume()
    before = place.calls()
    place.clock.now += 9
    place.refused()  # not asked again yet: others wait for this cloud, too
    assert place.calls() == before
    place.clock.now += 2
    assert place.ask() == []


def test_a_node_with_pods_is_patient_although_status_was_never_asked(place: Place) -> None:
    """Its plugin was just replaced by this version, while the cloud is away."""
    attachment = Attachment("container", "eth0", "/run/netns/none")
    own_ipam().acquire(IpamRequest("net", attachment, place.config(), Deadline.after(20)))
    away(place)
    (note,) = place.ask()
    assert "Neutron is unreachable" in note


def test_a_new_configuration_does_not_make_a_node_a_new_one(place: Place) -> None:
    place.ask()
    away(place)
    (note,) = place.ask(place.config(hostInterface="eth0"))
    assert "Neutron is unreachable" in note


def test_after_a_boot_patience_begins_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ask()
    away(place)
    place.clock.now += 61
    place.ask()
    boot = place.host.boot_id
    monkeypatch.setattr("neutron_cni.store.store.BOOT_ID", boot)
    place.clock.now = 30.0
    (note,) = place.ask()
    assert "an error in 600 s" in note


def test_a_defect_of_ours_evicts_no_pod(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ask()
    place.clock.now += 61

    def broken(context: object) -> None:
        raise TypeError(SECRET)

    monkeypatch.setattr(fixed_ips, "capacity", broken)
    (note,) = place.ask()
    assert "unexpected TypeError in broken, line" in note
    assert SECRET not in note


# What does not pass


def test_credentials_that_are_refused_are_an_error_at_once(place: Place) -> None:
    """Although the last good answer is a minute old: the application credential was deleted."""
    place.ask()
    place.clock.now += 61
    place.scene.neutron.token, place.keystone.status = "another", 401
    assert "refused our credentials" in place.refused()
    place.scene.neutron.token, place.keystone.status = place.keystone.token, None
    place.clock.now += 31
    assert place.ask() == []


def test_a_vm_without_a_port_is_an_error_within_seconds(place: Place) -> None:
    place.ask()
    place.clock.now += 61
    place.scene.call("DELETE", f"/ports/{place.host.port_id}")
    (note,) = place.ask()
    assert "an error if the cloud says so again" in note
    place.clock.now += 6
    assert "does not exist" in place.refused()


@pytest.mark.parametrize("what", ["networks", "subnets", "extensions"])
def test_one_odd_answer_evicts_no_pod(place: Place, what: str) -> None:
    """Of a gateway, a cache or a database that lags: the cloud has no such thing, once."""
    config = place.config(Mode.PORT, subnets=["10.9.0.0/26"])
    assert place.ask(config) == []
    with Store(config.state_dir) as store:
        store.forget_old("", -1.0)  # Which extensions there are is asked once an hour.
        store.remember(module._worked(config), "yes")
    place.clock.now += 100
    odd = Fault("GET", f"/{what}$", status=200, body=json.dumps({what: []}), times=1)
    place.scene.neutron.faults.add(odd)
    (note,) = place.ask(config)
    assert "an error if the cloud says so again" in note
    place.clock.now += 61
    assert place.ask(config) == []


def test_without_metadata_the_port_may_be_found_in_a_minute(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is no word of Neutron's, and so no reason to evict pods."""
    nic = Uplink("eth0", "fa:16:3e:00:00:01", 1500, (ip_interface("10.9.0.9/26"),))
    monkeypatch.setattr(node, "uplink", lambda name: nic)
    by_metadata = place.config(portLookup="metadata", portId=None, metadataUrl="http://127.0.0.1:1")
    assert "never had an answer" in place.refused(by_metadata)
    place.ask()
    place.clock.now += 61
    (note,) = place.ask(by_metadata)
    assert "metadata service" in note


def test_a_store_that_can_not_be_opened_is_an_error_at_once(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "store" in place.refused(place.config(stateDir=str(tmp_path / "file" / "state")))


@pytest.mark.parametrize("trouble", [lambda place: None, failing], ids=["well", "away"])
def test_a_look_that_can_not_be_recorded_is_an_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Place], None]
) -> None:
    """A full disk, on which no ADD could write. Where the cloud is away, too, patience would never
    end, as nobody knows since when."""
    place.ask()
    place.clock.now += 61
    trouble(place)

    def full(store: Store, key: str, value: str | None) -> None:
        raise CniError(Code.STORE, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remember", full)
        assert place.refused() == "disk full"
        place.clock.now += 5
        assert place.refused() == "disk full"
    assert ("can't be asked" in str(place.ask())) == (trouble is failing)


def test_a_record_that_can_not_be_read_is_none(place: Place) -> None:
    place.ask()
    with Store(place.config().state_dir) as store:
        store.remember(module._key(place.config()), '{"version": 9}')
    assert place.ask() == []
    with Store(place.config().state_dir) as store:
        assert last_look(store, place.config()) is not None


# Room


@ALL_MODES
def test_no_room_is_said_and_an_error_only_where_that_is_wanted(place: Place, mode: Mode) -> None:
    for address in place.scene.free():
        place.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    config = place.config(mode)
    (note,) = place.ask(config)
    assert "no room for another pod: no free address in subnet" in note
    assert "no free address" in place.refused(place.config(mode, capacityInStatus=True))


def test_free_addresses_are_counted_and_recorded(place: Place) -> None:
    place.ask()
    with Store(place.config().state_dir) as store:
        look = last_look(store, place.config())
    assert look is not None
    assert look.capacity is not None
    (subnet,) = look.capacity.subnets
    assert subnet.free == len(place.scene.free())


def room(place: Place, offline: bool = False) -> list[Left]:
    """What `neutron-cni leases` shows."""
    with Store(place.config().state_dir) as store:
        return left(store, place.host.conf_dir, offline)


def test_leases_shows_what_status_counted_lately(place: Place) -> None:
    place.host.install(place.section(), "pods")
    place.ask()
    before = place.calls()
    place.clock.now += 60
    (shown,) = room(place)
    free = len(place.scene.free())
    assert shown.in_words == f"{free} free in 10.9.0.0/26 (10.9.0.0/26) (60 s ago)"
    assert (shown.network, shown.is_full) == ("pods", False)
    assert place.calls() == before


def test_leases_counts_anew_where_nobody_did_lately(place: Place) -> None:
    """Runtimes before CNI 1.1 never ask for STATUS."""
    place.host.install(place.section(), "pods")
    assert room(place, offline=True) == []
    (shown,) = room(place)
    assert "(0 s ago)" in shown.in_words
    for address in place.scene.free():
        place.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    place.clock.now += 121
    (old,) = room(place, offline=True)
    assert not old.is_full
    (shown,) = room(place)
    assert shown.is_full
    assert shown.for_programs["subnets"][0]["free"] == 0
    # Status is spared this look.
    before = place.calls()
    place.ask()
    assert place.calls() == before


def test_leases_shows_the_last_count_while_the_cloud_is_away(place: Place) -> None:
    place.host.install(place.section(), "pods")
    place.ask()
    place.clock.now += 500
    away(place)
    (shown,) = room(place)
    assert "(500 s ago)" in shown.in_words


def test_leases_shows_pairs_and_ports_where_they_matter(place: Place) -> None:
    place.host.install(place.section(Mode.ADDRESS_PAIRS, maxAddressPairs=10), "pods")
    (shown,) = room(place)
    assert "0 of 10 address pairs of the VM's port" in shown.in_words
    assert "ports of the project" in shown.in_words
    assert shown.for_programs["addressPairs"] == {"used": 0, "limit": 10}


# One asks, others answer


def asking(place: Place) -> FileLock:
    return module._asking(place.config())


def test_while_one_asks_others_answer_by_what_is_known(place: Place) -> None:
    place.ask()
    place.clock.now += 61
    before = place.calls()
    with asking(place) as other:
        assert other.try_acquire()
        assert place.ask() == []
        place.clock.now += 40
        (note,) = place.ask()
        assert "has been asking the cloud" in note
        place.clock.now += 600
        assert "does not end" in place.refused()
    assert place.calls() == before
    assert place.ask() == []


def test_while_one_asks_for_the_first_time_others_wait_for_its_answer(place: Place) -> None:
    place.ask()
    with Store(place.config().state_dir) as store:
        known = store.fact(module._key(place.config()))
        store.remember(module._key(place.config()), None)
    before = place.calls()
    with asking(place) as other, ThreadPoolExecutor(1) as pool:
        assert other.try_acquire()
        answer = pool.submit(place.ask)
        with Store(place.config().state_dir) as store:
            store.remember(module._key(place.config()), known)
        assert answer.result(timeout=10) == []
    assert place.calls() == before


def test_who_waits_for_the_first_answer_does_not_wait_for_ever(place: Place) -> None:
    with asking(place) as other:
        assert other.try_acquire()
        with pytest.raises(CniError) as caught:
            status(place.config(), Deadline.after(0.3))
    assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE
    assert "another process asks the cloud" in caught.value.message


def test_who_comes_late_takes_the_answer_that_another_just_got(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look into the store and the lock: the other has recorded, and let go."""
    place.ask()
    place.clock.now += 61
    try_acquire = FileLock.try_acquire

    def late(lock: FileLock) -> bool:
        if lock.path == asking(place).path and not first:
            first.append(True)
            place.ask()
        return try_acquire(lock)

    first: list[bool] = []
    monkeypatch.setattr(FileLock, "try_acquire", late)
    before = place.calls()[0]
    assert place.ask() == []
    assert place.calls()[0] == before + 4


def test_a_look_leaves_time_to_answer_before_the_runtime_gives_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def connected(*words: Any) -> AbstractContextManager[Context]:
        given.append(words[-1].left)
        return real(*words)

    real = settling.connected
    monkeypatch.setattr(module, "connected", connected)
    assert place.ask() == []
    assert 0 < given[0] <= module.LOOK_SECONDS < 10


# It ends before the runtime gives up


def ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """What STATUS says where it says no, in its own ten seconds."""
    monkeypatch.setattr(module, "STORE_SECONDS", 0.1)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(place.refused).result(timeout=10)


def test_a_store_that_is_being_written_after_a_reboot_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neutron_cni.store.store.BOOT_ID", place.host.boot_id)
    place.ask()
    place.host.reboot()
    with closing(sqlite3.connect(place.host.store_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in ends(place, monkeypatch)
    assert place.ask() == []


def test_a_store_that_another_does_not_finish_to_make_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.host.state_dir.mkdir(mode=0o700, exist_ok=True)
    with (place.host.state_dir / "store.db.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process has had" in ends(place, monkeypatch)
        request = IpamRequest("net", Attachment("c", "eth0", ""), place.config(), Deadline.after(0))
        with pytest.raises(CniError, match="for 1 s another process has had"):
            own_ipam().release(request)
    assert place.ask() == []


def test_a_port_that_is_not_shown_is_not_looked_for_longer_than_the_runtime_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.ask()
    place.clock.now += 61
    monkeypatch.setattr(module, "LOOK_SECONDS", 4.0)
    monkeypatch.setattr(absence, "pause", PAUSE)
    faults = place.scene.neutron.faults
    faults.add(Fault("GET", f"/ports/{place.host.port_id}", status=404, times=FOREVER))
    faults.add(Fault("GET", "/ports$", status=200, body='{"ports": []}', times=FOREVER))
    (note,) = place.ask()
    assert "no time for a second look" in note


def taken_now(place: Place, boot: str | None = None) -> str:
    """What 4711 wrote into the lock's file when it took the lock."""
    here = boot_id() if boot is None else boot
    return f"4711 {place.clock.as_module().time()} {here} {place.clock.now}"


def taken_now_by_an_older_version(place: Place) -> str:
    """The same, without anything that setting the clock does not change."""
    return f"4711 {place.clock.as_module().time()}"


def test_who_takes_a_lock_writes_who_and_when_by_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with FileLock(str(tmp_path), "lock") as lock:
        assert lock.holder() is None
        assert lock.try_acquire()
        found = lock.holder()
    assert found is not None
    assert (found.pid, found.boot) == (os.getpid(), boot_id())
    assert before <= found.since <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("text", ["", "4711", "a b", "4711 5 boot", "4711 5 boot x", "\xff 1"])
def test_a_lock_file_that_says_nothing_is_of_nobody_known(place: Place, text: str) -> None:
    config = place.config(statusPatience=0)
    with anchor_lock(config.state_dir, module._anchor(config)) as held:
        assert held.try_acquire()
        held.path.write_bytes(text.encode("latin-1"))
        assert held.holder() is None
        assert place.ask(config) == []


def test_a_time_that_is_none_is_not_known(place: Place) -> None:
    config = place.config(statusPatience=0)
    with anchor_lock(config.state_dir, module._anchor(config)) as held:
        assert held.try_acquire()
        held.path.write_text("4711 nan")
        assert place.ask(config) == []


def test_a_clock_that_is_set_forth_makes_nobody_hold_the_lock_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = place.config(statusPatience=0)
    place.ask(config)
    with anchor_lock(config.state_dir, module._anchor(config)) as held:
        assert held.try_acquire()
        held.path.write_text(taken_now(place))
        place.clock.now += 5
        later = place.clock.as_module()
        later.time = lambda: 1_700_000_000 + place.clock.now + 7200
        monkeypatch.setattr(module, "time", later)
        assert place.ask(config) == []


def test_who_took_the_lock_before_the_boot_does_not_hold_it(place: Place) -> None:
    config = place.config(statusPatience=0)
    with anchor_lock(config.state_dir, module._anchor(config)) as held:
        assert held.try_acquire()
        held.path.write_text(taken_now(place, boot="the-boot-before"))
        place.clock.now += 7200
        assert place.ask(config) == []


@pytest.mark.parametrize("written", [taken_now, taken_now_by_an_older_version])
def test_a_lock_that_nobody_lets_go_is_a_note_and_then_an_error(
    place: Place, written: Callable[[Place], str]
) -> None:
    config = place.config()
    place.ask()
    with anchor_lock(config.state_dir, module._anchor(config)) as held:
        assert held.try_acquire()
        held.path.write_text(written(place))
        assert place.ask() == []
        place.clock.now += module.LONGEST_HOLD
        (note,) = place.ask()
        assert "process 4711 has held the lock" in note
        impatient = place.config(statusPatience=0)
        assert "process 4711 has held the lock" in place.refused(impatient)
        place.clock.now += 600
        assert "process 4711 has held the lock" in place.refused()

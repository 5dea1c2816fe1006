"""One process asks the cloud for STATUS, others answer; all end before the runtime gives up."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import absence, settling
from neutron_cni.ipam import status as module
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.lock import FileLock, anchor_lock
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.status import status
from neutron_cni.store import Store
from neutron_cni.store.store import boot_id
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.unit.ipam.status.place import PAUSE, Place


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

"""A store whose file is cut, overwritten, half copied or on a full disk."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from neutron_cni.store import PortAddress, Record, State, Store, Wish, damage
from neutron_cni.store import store as store_module
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from neutron_cni.values.lease import Lease
from tests.reliability.life import Life
from tests.unit.conftest import LifeMaker

FLIPS = 250
ALL_MODES = pytest.mark.parametrize("mode", list(Mode))


def record(number: int) -> Record:
    """A wish like any other."""
    attachment = Attachment(f"container-{number}", "eth0", f"/run/netns/{number}")
    return Record(
        network="net",
        attachment=attachment,
        token=attachment.token("net"),
        nonce=f"nonce-{number}",
        pod=PodRef("default", f"web-{number}", f"uid-{number}"),
        config=IpamConfig(type="cni-ipam-neutron"),
        anchor="anchor",
        state=State.WANTED,
        wish=Wish(),
        owner="",
        created=time.time(),
        changed=time.time(),
    )


def fill(store: Store, numbers: range) -> None:
    """Leases in every state."""
    for number in numbers:
        row = store.want(record(number))
        held = (PortAddress(ip_address(f"10.0.{number // 250}.{number % 250}"), "subnet", "port"),)
        if number % 4:
            store.intend({row.id: held})
        if number % 4 > 1:
            store.hold({row.id: (held, Lease((), port_id="port"))})
        if number % 4 > 2:
            store.release(row.id, 30.0)
    store.remember("fact", "value")


def use(store: Store) -> None:
    """What a call may do with it."""
    store.all()
    store.queue("anchor")
    store.due(time.time())
    store.fact("fact")
    row = store.want(record(10_000))
    store.intend({row.id: ()})
    store.release(row.id, 0.0)
    store.forget([row.id])
    store.remember("more", "facts")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of many pages, closed properly."""
    folder = tmp_path_factory.mktemp("sound")
    with Store(str(folder)) as store:
        fill(store, range(120))
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "state"
    shutil.copytree(sound, copy)
    return copy


def works_again(folder: Path) -> int:
    """Use it until it works, which it must after one error; how many errors there were."""
    last: CniError | None = None
    for errors in range(3):
        try:
            with Store(str(folder)) as store:
                use(store)
        except CniError as error:
            last = error
        else:
            assert last is None or last.code == Code.STORE
            return errors
    raise AssertionError(f"the store does not come back to work: {last}")


def test_whatever_byte_is_overwritten_the_store_works_again(sound: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    size = (sound / "store.db").stat().st_size
    places = [*range(100), *(rng.randrange(size) for _ in range(FLIPS))]
    aside = 0
    for place in places:
        folder = tmp_path / "state"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        with (folder / "store.db").open("r+b") as file:
            file.seek(place)
            for _ in range(rng.choice((1, 1, 8, 600))):
                file.write(bytes([rng.randrange(256)]))
        works_again(folder)
        aside += bool(list(folder.glob("store.db.damaged-*")))
    assert aside > len(places) / 10


def test_wherever_it_is_cut_the_store_works_again(sound: Path, tmp_path: Path) -> None:
    size = (sound / "store.db").stat().st_size
    for length in [0, 1, 99, 100, 4095, 4096, *range(5000, size, 7001)]:
        folder = tmp_path / "state"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        with (folder / "store.db").open("r+b") as file:
            file.truncate(length)
        works_again(folder)


def test_damage_found_in_mid_use_is_out_of_the_way_for_the_next_call(folder: Path) -> None:
    """A row that is no lease any more: SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        connection.execute("UPDATE lease SET config = '{' WHERE id = 7")
    with Store(str(folder)) as store, pytest.raises(CniError) as caught:
        store.all()
    assert caught.value.code == Code.STORE
    assert "damaged" in caught.value.message
    with Store(str(folder)) as store:
        assert store.all() == []
    assert list(folder.glob("store.db.damaged-*"))


def test_a_sound_store_is_never_set_aside(folder: Path) -> None:
    """A lock that does not come free is an error of another kind."""
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        with Store(str(folder), patience=0.05) as store, pytest.raises(CniError) as caught:
            store.remember("fact", "other")
        connection.rollback()
    assert caught.value.code == Code.STORE
    assert works_again(folder) == 0
    assert not list(folder.glob("store.db.damaged-*"))


def test_a_file_that_was_looked_at_stays_open_for_as_long_as_any_store_of_the_process(
    folder: Path,
) -> None:
    """To close it is to take the others' locks away; not to close it is a leak."""
    with Store(str(folder)):
        with Store(str(folder)) as store:
            assert not damage.set_aside_if_damaged(store.path, 1.0)
        assert len(damage._looked_at) == 1
    assert damage._looked_at == []


def test_a_store_of_a_newer_version_is_refused_and_not_touched(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute(f"PRAGMA application_id = {0x6E634E00 + 7}")
    with pytest.raises(CniError, match="newer neutron-cni"):
        Store(str(folder))
    assert not list(folder.glob("store.db.damaged-*"))


def test_a_copy_made_at_any_moment_opens_soundly(tmp_path: Path) -> None:
    """What power loss leaves: the files as they are between two writes. Nothing answered is lost.

    (A copy sees writes in order, as a disk does that honours fsync.)
    """
    folder, rng = tmp_path / "live", random.Random(2)
    answered: list[int] = []
    with Store(str(folder)) as store:
        for number in range(150):
            fill(store, range(number, number + 1))
            answered.append(number)
            if rng.random() < 0.4:
                copy = tmp_path / f"copy-{number}"
                copy.mkdir()
                # The order in which SQLite writes them: first the log, at checkpoints the file.
                for name in ("store.db", "store.db-wal"):
                    if (folder / name).exists():
                        shutil.copy(folder / name, copy / name)
                with Store(str(copy)) as other:
                    containers = {row.attachment.container_id for row in other.all()}
                    use(other)
                assert containers >= {f"container-{item}" for item in answered}
                assert not list(copy.glob("*damaged*"))


def test_a_torn_log_loses_only_what_was_not_answered(tmp_path: Path) -> None:
    """The last transaction's pages are half written: the ones before it stand."""
    folder = tmp_path / "live"
    with Store(str(folder)) as store:
        fill(store, range(8))
        log = (folder / "store.db-wal").stat().st_size
        fill(store, range(8, 9))
        full = (folder / "store.db-wal").stat().st_size
        for length in range(log, full, max(1, (full - log) // 23)):
            copy = tmp_path / f"cut-{length}"
            copy.mkdir()
            for name in ("store.db", "store.db-wal"):
                shutil.copy(folder / name, copy / name)
            with (copy / "store.db-wal").open("r+b") as file:
                file.truncate(length)
            with Store(str(copy)) as other:
                containers = {row.attachment.container_id for row in other.all()}
            assert containers >= {f"container-{item}" for item in range(8)}


@ALL_MODES
@pytest.mark.parametrize("harm", ["deleted", "overwritten", "cut"])
def test_a_lost_store_takes_no_address_from_anybody(
    new_life: LifeMaker, mode: Mode, harm: str
) -> None:
    life = new_life(mode)
    for _ in range(3):
        assert life.add().ok
    harm_store(life, harm)
    assert life.add().ok
    life.pass_time(40)
    life.sweep()
    for container in life.containers:
        outcome = life.check(container)
        assert outcome.ok
        assert not outcome.differences
        assert life.delete(container).ok
    assert life.end() == []


def harm_store(life: Life, harm: str) -> None:
    """Everything that it knew is gone."""
    life.lose_store() if harm == "deleted" else None
    with life.host.store_file.open("a+b" if harm == "deleted" else "r+b") as file:
        if harm == "overwritten":
            file.write(b"\x55" * 5000)
        elif harm == "cut":
            file.truncate(5000)
    life.store_lost = True


def test_after_a_reboot_an_address_rests_as_after_a_del(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Store(str(folder)) as store:
        held = {row.id for row in store.all() if row.state is State.HELD}
    other = tmp_path / "boot_id"
    other.write_text("another\n")
    monkeypatch.setattr(store_module, "BOOT_ID", other)
    with Store(str(folder)) as store:
        rows = store.all()
    assert {row.state for row in rows} == {State.COOLING, State.RELEASED}
    rest = [row.until - row.changed for row in rows if row.id in held]
    assert rest == pytest.approx([30.0] * 30)

"""A store that an older neutron-cni wrote is upgraded: whole or not at all, and no row is lost."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from neutron_cni.store import Record, State, Store, damage, schema
from neutron_cni.store.record import to_row
from neutron_cni.values.errors import CniError, Code
from tests.unit.store.test_store import hold, wish

NOW = len(schema.MIGRATIONS)
SECOND = "ALTER TABLE lease ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue';"
THIRD = "CREATE TABLE shade (name TEXT PRIMARY KEY); INSERT INTO shade VALUES ('dark');"

DIES = """
import os, signal, sys
from neutron_cni.store import Store, schema

connect = schema.raw_connection

def with_death(path, patience):
    connection = connect(path, patience)
    connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return connection

schema.raw_connection = with_death
schema.MIGRATIONS = (*schema.MIGRATIONS, sys.argv[2] + "SELECT die();")
Store(sys.argv[1])
"""
"""Opens the store in the folder argv[1], with argv[2] as second migration, and dies inside it."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a store of the present schema, with a lease in each of three states."""
    with Store(str(tmp_path)) as store:
        hold(store, wish("held"))
        store.release(hold(store, wish("rests")), 300.0)
        store.want(wish("wanted"))
        store.remember("install", "abcdef")
    assert version(tmp_path) == NOW
    return tmp_path


def add_migrations(patch: pytest.MonkeyPatch, *scripts: str) -> None:
    """As a later version of neutron-cni would have them."""
    patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *scripts))


def version(folder: Path) -> int:
    """The schema's version, as SQLite itself says."""
    with closing(sqlite3.connect(folder / "store.db")) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def columns(folder: Path) -> list[str]:
    """Those of the table of leases."""
    with closing(sqlite3.connect(folder / "store.db")) as database:
        return [row[1] for row in database.execute("PRAGMA table_info(lease)")]


def files(folder: Path) -> list[str]:
    """The store's files but for its lock."""
    return sorted(path.name for path in folder.glob("store.db*") if "lock" not in path.name)


def content(folder: Path) -> tuple[list[Record], str]:
    """Every lease, and the fact."""
    with Store(str(folder)) as store:
        return store.all(), store.fact("install") or ""


def test_an_older_file_is_upgraded_and_keeps_its_rows(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(old)
    assert sorted(row.state for row in before[0]) == [State.COOLING, State.HELD, State.WANTED]
    add_migrations(monkeypatch, SECOND, THIRD)

    assert content(old) == before

    assert (version(old), "colour" in columns(old)) == (NOW + 2, True)
    with Store(str(old)) as store:
        hold(store, wish("new"))
        assert len(store.all()) == len(before[0]) + 1


def test_a_new_file_has_every_migration_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migrations(monkeypatch, SECOND, THIRD)
    with Store(str(tmp_path)) as store:
        hold(store, wish("one"))
    assert (version(tmp_path), "colour" in columns(tmp_path)) == (NOW + 2, True)


MIGRATIONS_OF_0_1 = schema.MIGRATIONS[:1]
SECOND_OF_OURS = schema.MIGRATIONS[1]
STATES_OF_0_1 = [state for state in State if state is not State.READY]


@pytest.fixture
def oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store of version 0.1's schema, with a lease in every state that it knew."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS_OF_0_1)
        schema.open_database(tmp_path / "store.db").close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        for state in STATES_OF_0_1:
            row = {k: v for k, v in to_row(wish(state.value)).items() if k != "absent"}
            row |= {"state": state.value, "nonce": state.value, "token": state.value}
            marks = ", ".join(f":{name}" for name in row)
            database.execute(f"INSERT INTO lease ({', '.join(row)}) VALUES ({marks})", row)
    return tmp_path


def test_a_store_of_version_0_1_is_upgraded(oldest: Path) -> None:
    with Store(str(oldest)) as store:
        found = store.all()
    assert [(row.state, row.absent) for row in found] == [(state, 0) for state in STATES_OF_0_1]
    assert version(oldest) == NOW


@pytest.mark.parametrize("done", [0, 1], ids=["the first", "the second"])
def test_a_migration_that_fails_leaves_the_file_as_it_was(
    oldest: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """Whose rows are not today's, and yet not damaged."""
    scripts = [SECOND_OF_OURS, SECOND]
    with monkeypatch.context() as patch:
        failing = [*scripts[:done], f"{scripts[done]}; INSERT INTO nowhere VALUES (1);"]
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS_OF_0_1, *failing))
        with pytest.raises(CniError, match="nowhere") as caught:
            Store(str(oldest))
    assert caught.value.code == Code.STORE
    assert files(oldest) == ["store.db"]
    assert version(oldest) == 1 + done

    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS_OF_0_1, *scripts))
    assert [row.state for row in content(oldest)[0]] == STATES_OF_0_1
    assert version(oldest) == 3


def test_an_older_file_that_was_read_only_for_a_moment_is_upgraded(
    oldest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with errors is mounted read-only, and an operator mounts it anew."""
    migrated = schema._migrated
    refusals: list[sqlite3.OperationalError] = []

    def at_first_read_only(path: Path, patience: float) -> sqlite3.Connection:
        if not refusals:
            refusals.append(sqlite3.OperationalError("attempt to write a readonly database"))
            refusals[0].sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise refusals[0]
        return migrated(path, patience)

    monkeypatch.setattr(schema, "_migrated", at_first_read_only)
    assert [row.state for row in content(oldest)[0]] == STATES_OF_0_1
    assert files(oldest) == ["store.db"]


@pytest.mark.parametrize("number", [8, 14], ids=["READONLY", "CANTOPEN"])
def test_a_file_that_can_not_be_looked_at_is_not_called_damaged(
    old: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(path: Path, patience: float) -> sqlite3.Connection:
        error = sqlite3.OperationalError("not now")
        error.sqlite_errorcode = number
        raise error

    before = content(old)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "raw_connection", refused)
        patch.setattr(damage, "raw_connection", refused)
        with pytest.raises(CniError, match="not now"):
            Store(str(old))
    assert content(old) == before


def test_a_file_whose_version_is_not_that_of_its_mark_is_damaged(old: Path) -> None:
    """The second migration would fail each time, as its column is there already."""
    with closing(sqlite3.connect(old / "store.db")) as database:
        database.execute("PRAGMA user_version = 1")
    assert content(old) == ([], "")
    assert any("damaged" in name for name in files(old))


def test_a_process_killed_in_a_migration_leaves_it_to_the_next(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(old)
    died = subprocess.run([sys.executable, "-c", DIES, str(old), SECOND], check=False)
    assert died.returncode == -signal.SIGKILL
    assert (version(old), "colour" in columns(old)) == (NOW, False)

    add_migrations(monkeypatch, SECOND)
    assert content(old) == before
    assert version(old) == NOW + 1


def test_of_many_who_find_an_older_file_at_once_one_upgrades_it(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(old)
    add_migrations(monkeypatch, SECOND, THIRD)
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(content, [old] * 8))
    assert seen == [before] * 8
    assert version(old) == NOW + 2


def test_the_older_version_refuses_the_upgraded_file_and_leaves_it_alone(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        add_migrations(patch, SECOND)
        before = content(old)
    with pytest.raises(CniError, match="newer neutron-cni") as caught:
        Store(str(old))
    assert caught.value.code == Code.STORE
    add_migrations(monkeypatch, SECOND)
    assert content(old) == before

"""A store that is opened after a reboot, or on another machine than the one that wrote it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from neutron_cni.store import State, Store, machine
from neutron_cni.store import store as store_module
from tests.unit.store.test_store import hold, wish


@pytest.fixture
def boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells the boot."""
    path = tmp_path / "boot_id"
    path.write_text(f"{uuid4()}\n")
    monkeypatch.setattr(store_module, "BOOT_ID", path)
    return path


def test_a_reboot_that_finds_a_row_which_is_no_lease_sets_the_store_aside(
    tmp_path: Path, boot_id: Path
) -> None:
    folder = tmp_path / "state"
    with Store(str(folder)) as store:
        hold(store, wish("c1"))
    with closing(sqlite3.connect(folder / "store.db")) as database, database:
        database.execute("UPDATE lease SET config = '{'")
    boot_id.write_text(f"{uuid4()}\n")

    with Store(str(folder)) as store:
        assert store.all() == []
    assert list(folder.glob("store.db.damaged-*"))


def test_a_copy_of_the_store_on_another_machine_is_not_used(
    tmp_path: Path, boot_id: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of a node, started as another VM, must not give back what the node's pods use."""
    uuid = tmp_path / "product_uuid"
    monkeypatch.setattr(machine, "PRODUCT_UUID", uuid)
    uuid.write_text("one\n")
    folder = tmp_path / "state"
    with Store(str(folder)) as store:
        hold(store, wish("c1"))
    boot_id.write_text(f"{uuid4()}\n")
    uuid.write_text("two\n")

    for _ in range(2):
        with Store(str(folder)) as store:
            assert store.all() == []
    (aside,) = folder.glob("store.db.of-another-machine-*")
    uuid.write_text("one\n")
    aside.rename(folder / "store.db")
    with Store(str(folder)) as store:
        assert [row.state for row in store.all()] == [State.COOLING]

"""Who else may read the store, or put something in its place: nobody."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni.hosts import trace
from neutron_cni.ipam.lock import FileLock
from neutron_cni.store import Store
from neutron_cni.values.errors import CniError, Code


@pytest.fixture(autouse=True)
def open_mask() -> Iterator[None]:
    """Whatever the runtime's umask is."""
    former = os.umask(0)
    yield
    os.umask(former)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def modes(state: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in state.iterdir()}


SQLITE = ("store.db", "store.db-wal", "store.db-shm")


def test_every_file_of_a_new_store_is_readable_by_us_only(state: Path) -> None:
    with Store(str(state)) as store, FileLock(str(state), "anchor") as lock:
        store.remember("a", "b")
        assert lock.try_acquire()
        assert modes(state) == {
            **dict.fromkeys((*SQLITE, "store.db.lock"), "0o600"),
            "locks": "0o700",
        }
        assert set(modes(state / "locks").values()) == {"0o600"}


def test_a_store_of_before_is_tightened_and_keeps_what_it_has(state: Path) -> None:
    with Store(str(state)) as store:
        store.remember("a", "b")
        for name in SQLITE:
            (state / name).chmod(0o644)
        with Store(str(state)) as again:
            assert again.fact("a") == "b"
            assert {modes(state)[name] for name in SQLITE} == {"0o600"}


@pytest.mark.parametrize("name", [*SQLITE, "store.db-journal", "store.db.lock"])
def test_a_link_in_the_place_of_a_file_is_not_followed(state: Path, name: str) -> None:
    state.mkdir(0o700)
    (state / name).symlink_to(state / "elsewhere")
    with pytest.raises(CniError, match="symbolic link") as caught:
        Store(str(state))
    assert caught.value.code == Code.STORE
    assert not (state / "elsewhere").exists()


def test_a_fifo_in_the_place_of_the_store_is_an_error_at_once(state: Path) -> None:
    state.mkdir(0o700)
    os.mkfifo(state / "store.db", 0o600)
    with pytest.raises(CniError, match="FIFO"):
        Store(str(state))


def test_a_folder_that_others_can_write_is_refused_and_once_mended_taken(state: Path) -> None:
    state.mkdir(0o777)
    with pytest.raises(CniError, match=f"chmod go-w {state}"):
        Store(str(state))
    with pytest.raises(CniError, match=f"chmod go-w {state}"):
        FileLock(str(state), "a").try_acquire()
    assert not (state / "store.db").exists()
    state.chmod(0o755)
    Store(str(state)).__exit__(None, None, None)


def test_a_lock_is_no_link(state: Path) -> None:
    lock = FileLock(str(state), "anchor")
    lock.path.parent.mkdir(0o700, parents=True)
    state.chmod(0o700)
    lock.path.symlink_to(state / "elsewhere")
    with pytest.raises(CniError, match="symbolic link"):
        lock.try_acquire()


def test_a_trace_is_not_written_through_a_link_or_where_others_can_write(state: Path) -> None:
    state.mkdir(0o700)
    victim = state / "victim"
    victim.touch()
    (state / "plugin.log").symlink_to(victim)
    notes: list[str] = []
    stdin = json.dumps({"ipam": {"stateDir": str(state)}}).encode()
    for _ in ("a link", "a folder of everybody's"):
        _, details = trace.record(ValueError("odd"), stdin, notes)
        assert "standard error" in details
        state.chmod(0o777)
        (state / "plugin.log").unlink(missing_ok=True)
    assert len(notes) == 2
    assert victim.read_text() == ""
    assert not (state / "plugin.log").exists()

"""The store by itself: who may have which lease, and what the clock does to a rest."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from neutron_cni.store import PortAddress, Record, State, Store, Wish
from neutron_cni.store.giving_back import ABSENCE_SECONDS, LATE_ANSWER_SECONDS
from neutron_cni.store.record import process_identity
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease

HELD = (PortAddress(ip_address("10.0.0.9"), "subnet", "port"),)


def wish(container: str, token: str = "") -> Record:
    attachment = Attachment(container, "eth0", f"/run/netns/{container}")
    return Record(
        network="net",
        attachment=attachment,
        token=token or attachment.token("net"),
        nonce=f"nonce-{container}-{time.monotonic_ns()}",
        pod=PodRef(),
        config=IpamConfig(type="cni-ipam-neutron", quarantine=30.0),
        anchor="anchor",
        state=State.WANTED,
        wish=Wish(),
        owner="",
        created=time.time(),
        changed=time.time(),
    )


def hold(store: Store, record: Record) -> int:
    row = store.want(record)
    store.intend({row.id: HELD})
    store.hold({row.id: (HELD, Lease((), port_id="port"))})
    return row.id


def test_two_containers_with_one_token_never_share_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens have 32 bits, so in large fleets that happens."""
    monkeypatch.setattr(Attachment, "token", lambda self, network: "12345678")
    with Store(str(tmp_path)) as store:
        hold(store, wish("one"))
        with pytest.raises(CniError, match="same token") as caught:
            store.want(wish("two"))
        assert caught.value.code == Code.TRY_AGAIN
        assert store.live("net", Attachment("two", "eth0")) is None
        assert store.live("net", Attachment("one", "eth1")) is None
        mine = store.live("net", Attachment("one", "eth0"))
        assert mine is not None
        assert mine.state is State.HELD


def test_an_adopted_lease_is_found_by_its_token(tmp_path: Path) -> None:
    """Which container it was is not known any more."""
    with Store(str(tmp_path)) as store:
        lost = replace(
            wish("one"), network="", attachment=Attachment("", ""), state=State.HELD, addresses=HELD
        )
        store.add_recovered(lost)
        found = store.live("net", Attachment("one", "eth0"))
    assert found is not None
    assert found.addresses == HELD


def test_of_an_intention_that_was_deleted_meanwhile_nothing_is_intended(tmp_path: Path) -> None:
    with Store(str(tmp_path)) as store:
        one, two = store.want(wish("one")), store.want(wish("two"))
        store.release(one.id, 30.0)
        assert store.intend({one.id: HELD, two.id: ()}) == {two.id}


def test_a_request_that_was_taken_over_is_not_dropped_with_its_dead_owner(tmp_path: Path) -> None:
    with Store(str(tmp_path)) as store:
        seen = store.want(wish("one"))
        store.want(replace(wish("one"), owner="123:456"))
        store.drop([seen])
        assert store.get(seen.id) is not None


def test_parting_with_an_address_keeps_an_eye_on_it(tmp_path: Path) -> None:
    with Store(str(tmp_path)) as store:
        row = store.want(wish("one"))
        store.intend({row.id: HELD})
        store.return_to_wanted_and_watch([row.id], until=time.time() + 120)
        wanted, left = store.all()
    assert (wanted.state, wanted.addresses) == (State.WANTED, ())
    assert (left.state, left.addresses, left.token) == (State.RELEASED, HELD, row.token)
    assert left.nonce == row.nonce, "a port that carries it is to be found by it, and to go"
    assert wanted.nonce != row.nonce


@pytest.mark.parametrize("hours", [2, 24 * 365])
def test_a_rest_does_not_last_for_years_when_the_clock_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A DEL before NTP set the clock back."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    with Store(str(tmp_path)) as store:
        store.release(hold(store, wish("one")), 30.0)
    monkeypatch.setattr(time, "time", lambda: now)
    with Store(str(tmp_path)) as store:
        (row,) = store.all()
    assert row.state is State.COOLING
    assert row.until - now == pytest.approx(30.0)


@pytest.mark.parametrize("wrong_since", ["the release", "the first look"])
def test_a_second_look_is_not_put_off_for_hours_by_a_clock_that_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong_since: str
) -> None:
    now = time.time()
    wrong = now + 7200
    monkeypatch.setattr(time, "time", lambda: wrong if wrong_since == "the release" else now)
    with Store(str(tmp_path)) as store:
        row = hold(store, wish("one"))
        store.release(row, 0.0)
        store.end_quarantine([row])
        monkeypatch.setattr(time, "time", lambda: wrong)
        assert store.note_absent([row]) == set()
    monkeypatch.setattr(time, "time", lambda: now)
    Store(str(tmp_path)).__exit__(None, None, None)
    monkeypatch.setattr(time, "time", lambda: now + LATE_ANSWER_SECONDS + 1)
    with Store(str(tmp_path)) as store:
        assert store.note_absent([row]) == {row}


def test_what_was_seen_again_needs_two_looks_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with Store(str(tmp_path)) as store:
        row = hold(store, wish("one"))
        assert store.note_absent([row]) == set(), "a pod has it: no look counts"
        store.release(row, 0.0)
        store.end_quarantine([row])
        moments = [0, ABSENCE_SECONDS / 2, ABSENCE_SECONDS + 1]
        for moment, certain in zip(moments, (set(), set(), {row}), strict=True):
            monkeypatch.setattr(time, "time", lambda moment=moment: now + moment)
            assert store.note_absent([row]) == certain
        store.note_present([row])
        assert store.note_absent([row]) == set()


def test_a_rest_is_not_cut_short_by_a_clock_that_is_a_little_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with Store(str(tmp_path)) as store:
        store.release(hold(store, wish("one")), 30.0)
        (before,) = store.all()
    monkeypatch.setattr(time, "time", lambda: now - 5)
    with Store(str(tmp_path)) as store:
        (after,) = store.all()
    assert after.until == before.until


def test_facts_of_long_ago_are_forgotten_where_they_begin_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with Store(str(tmp_path)) as store:
        for key in ("status|a", "status_b", "other|status|"):
            store.remember(key, "old")
        monkeypatch.setattr(time, "time", lambda: now + 100)
        store.remember("status|c", "new")
        store.forget_old("status|", 50)
        facts = {key: store.fact(key) for key in ("status|a", "status_b", "status|c")}
        assert facts == {"status|a": None, "status_b": "old", "status|c": "new"}


def test_who_is_in_a_hurry_does_not_wait_long_for_another_writer(tmp_path: Path) -> None:
    """The other is no process of ours: one of this process would be waited for by a lock."""
    with (
        Store(str(tmp_path), patience=0.0) as store,
        closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CniError, match="locked"):
            store.remember("key", "value")
        other.execute("ROLLBACK")
        store.remember("key", "value")


@contextmanager
def another_makes_it(folder: Path) -> Iterator[None]:
    """Another process is at work with the file as a whole, and does not end."""
    with (folder / "store.db.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_who_makes_the_store_and_does_not_end_is_named_in_time(tmp_path: Path) -> None:
    with another_makes_it(tmp_path):
        with pytest.raises(CniError, match="another process has had") as caught:
            Store(str(tmp_path), patience=0.1)
        assert (caught.value.code, "lslocks" in caught.value.details) == (Code.STORE, True)
    with Store(str(tmp_path), patience=0.1):
        pass


def test_who_makes_the_store_is_waited_for(tmp_path: Path) -> None:
    def path() -> Path:
        with Store(str(tmp_path)) as store:
            return store.path

    with ThreadPoolExecutor(1) as threads:
        with another_makes_it(tmp_path):
            answer = threads.submit(path)
            assert not answer.done()
        assert answer.result(timeout=10) == tmp_path / "store.db"


def test_the_owner_of_a_row_is_alive_as_long_as_its_process() -> None:
    assert replace(wish("one"), owner=process_identity(os.getpid())).owner_alive
    assert not replace(wish("one"), owner=f"{os.getpid()}:1").owner_alive
    assert not wish("one").owner_alive


@pytest.mark.parametrize("held_since", ["the clock was right", "it was wrong"])
def test_a_watch_over_a_held_lease_does_not_last_for_hours_when_the_clock_was_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_since: str
) -> None:
    """The rest after DEL is at least as long as what was made again may come late."""
    now = time.time()
    wrong = now + 7200
    monkeypatch.setattr(time, "time", lambda: wrong if held_since == "it was wrong" else now)
    with Store(str(tmp_path)) as store:
        row = hold(store, wish("one"))
        monkeypatch.setattr(time, "time", lambda: wrong)
        store.watch(row)
    monkeypatch.setattr(time, "time", lambda: now)
    with Store(str(tmp_path)) as store:
        store.release(row, 30.0)
        (cooling,) = store.all()
    assert cooling.until - now == pytest.approx(LATE_ANSWER_SECONDS)


def test_a_watch_over_a_held_lease_ends_when_it_should(tmp_path: Path) -> None:
    with Store(str(tmp_path)) as store:
        row = hold(store, wish("one"))
        store.watch(row)
        (before,) = store.all()
    with Store(str(tmp_path)) as store:
        assert store.all() == [before]

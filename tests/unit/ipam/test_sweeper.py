"""The sweeper: what can't be given back does not keep the rest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from neutron_cni.ipam import sweeper
from neutron_cni.ipam.lock import FileLock
from neutron_cni.store import Record, State, Store, Wish
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig


def cooling(name: str, until: float) -> Record:
    return Record(
        network="net",
        attachment=Attachment(name, "eth0"),
        token=name,
        nonce=name,
        pod=PodRef(),
        config=IpamConfig(type="cni-ipam-neutron"),
        anchor="port",
        state=State.COOLING,
        wish=Wish(),
        owner="",
        until=until,
    )


class Clock:
    """In the place of the module `time`: it goes on while somebody sleeps, and only then."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_an_address_that_is_blocked_does_not_delay_one_that_is_due_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = 1_000_000.0
    clock = Clock(began)
    settled: list[float] = []

    def settle(store: Store, anchor: str, deadline: Deadline) -> None:
        """Gives back everything but `blocked`, and with the other one that too."""
        settled.append(clock.now - began)
        due = [r for r in store.queue(anchor) if r.until <= clock.now]
        later = [r for r in due if r.token == "later"]
        store.forget([r.id for r in due if later or r.token != "blocked"])

    monkeypatch.setattr(sweeper, "settle_anchor", settle)
    monkeypatch.setattr(sweeper, "time", clock)
    monkeypatch.setattr(sweeper, "FIRST_RETRY", 100.0)
    monkeypatch.setattr(sweeper, "LONGEST_SLEEP", 0.125)
    with Store(str(tmp_path / "state")) as store:
        store.add_recovered(cooling("blocked", began))
        store.add_recovered(cooling("later", began + 0.5))

    sweeper.main(str(tmp_path / "state"))

    assert settled == [0.0, 0.5]


@pytest.mark.parametrize(
    "trouble", [KeyError("port"), TypeError("x"), RecursionError("deep"), OSError(28, "No space")]
)
def test_whatever_settling_raises_is_noted_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    tries: list[Exception] = [trouble, trouble]

    def settle(store: Store, anchor: str, deadline: Deadline) -> None:
        if tries:
            raise tries.pop()
        notes.append(store.fact(f"sweep|{anchor}"))
        store.forget([record.id for record in store.queue(anchor)])

    notes: list[str | None] = []
    monkeypatch.setattr(sweeper, "settle_anchor", settle)
    monkeypatch.setattr(sweeper, "FIRST_RETRY", 0.01)
    with Store(str(tmp_path / "state")) as store:
        store.add_recovered(cooling("one", time.time()))

    sweeper.main(str(tmp_path / "state"))

    assert notes[0] is not None
    assert type(trouble).__name__ in notes[0]


def test_a_store_that_can_not_be_opened_for_a_while_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [CniError(Code.STORE, "full"), OSError(28, "No space"), MemoryError()]
    settled: list[str] = []

    class Shaky(Store):
        def __init__(self, folder: str) -> None:
            if failures:
                raise failures.pop()
            super().__init__(folder)

    def settle(store: Store, anchor: str, deadline: Deadline) -> None:
        settled.append(anchor)
        store.forget([record.id for record in store.queue(anchor)])

    with Store(str(tmp_path / "state")) as store:
        store.add_recovered(cooling("one", time.time()))
    monkeypatch.setattr(sweeper, "Store", Shaky)
    monkeypatch.setattr(sweeper, "settle_anchor", settle)
    monkeypatch.setattr(sweeper, "FIRST_RETRY", 0.01)

    sweeper.main(str(tmp_path / "state"))

    assert settled == ["port"]


def test_in_trouble_it_leaves_its_lock_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a sweeper of a later version, after that one made the store unreadable for this."""
    folder = str(tmp_path / "state")

    def taken_over(seconds: float) -> None:
        assert other.try_acquire()

    other = FileLock(folder, "sweeper")
    with Store(folder) as store:
        store.add_recovered(cooling("one", time.time()))
    monkeypatch.setattr(sweeper, "_round", lambda state_dir, retries: 1 / 0)
    monkeypatch.setattr(time, "sleep", taken_over)

    sweeper.main(folder)
    other.release()

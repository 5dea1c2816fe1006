"""The sweeper announces pods again for some seconds after ADD, while they have the address."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from neutron_cni.ipam import announcing, sweeper
from neutron_cni.ipam.announcing import announce_again, announce_due, anything_to_announce
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.pauses import Polling
from neutron_cni.ipam.service import NeutronIpam
from neutron_cni.netlink import announce
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.store import Record, State, Store, Wish
from neutron_cni.store.sandbox import inode_of
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from tests.support.cni_doubles import LEASE
from tests.unit.ipam.test_sweeper import cooling

BEGAN = 1000.0
PATIENCE = 60.0
SENT = (
    Announcement(Side.HOST, "ens3", ip_address("10.0.0.5")),
    Announcement(Side.POD, "eth0", ip_address("fd00::5")),
)


class Wire:
    """In the place of the kernel: what was sent, from which namespaces, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = BEGAN
        self.sent: list[tuple[float, Sequence[Announcement], str]] = []
        self.fails = False
        monkeypatch.setattr(time, "time", lambda: self.now)

    def send(self, wanted: Sequence[Announcement], netns: str) -> None:
        self.sent.append((self.now - BEGAN, tuple(wanted), netns))
        if self.fails:
            raise CniError(Code.KERNEL, "no such link")

    def at(self, store: Store, seconds: float) -> bool:
        self.now = BEGAN + seconds
        return announce_due(store, self.send)

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.sent]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "state")) as found:
        yield found


def held(store: Store, tmp_path: Path) -> Record:
    """The lease of a pod whose namespace is there."""
    netns = tmp_path / "netns"
    netns.touch()
    record = Record(
        network="net",
        attachment=Attachment("pod1", "eth0", str(netns)),
        token=Attachment("pod1", "eth0").token("net"),
        nonce="nonce",
        pod=PodRef(),
        config=IpamConfig(type="cni-ipam-neutron"),
        anchor="port",
        state=State.HELD,
        wish=Wish(),
        owner="",
        netns_inode=inode_of(str(netns)),
        lease=LEASE,
    )
    store.add_recovered(record)
    (found,) = store.all()
    return found


def test_what_add_sent_is_sent_three_times_more_and_then_forgotten(
    store: Store, wire: Wire, tmp_path: Path
) -> None:
    record = held(store, tmp_path)
    announce_again(store, record, SENT)
    left = [wire.at(store, seconds) for seconds in (0.5, 1.0, 1.875, 2.0, 2.5, 3.0, 3.5)]
    assert wire.sent == [(at, SENT, record.attachment.netns) for at in (1.0, 2.0, 3.0)]
    assert left == [True] * 5 + [False] * 2
    assert not anything_to_announce(store)


def test_who_comes_late_sends_once_for_all_that_was_due(
    store: Store, wire: Wire, tmp_path: Path
) -> None:
    announce_again(store, held(store, tmp_path), SENT)
    wire.at(store, 2.75)
    wire.at(store, 2.875)
    assert wire.times == [2.75]
    assert not wire.at(store, 3.125)
    assert wire.times == [2.75, 3.125]


def test_an_address_that_was_given_back_is_not_announced(
    store: Store, wire: Wire, tmp_path: Path
) -> None:
    """It may be another pod's, of another node."""
    record = held(store, tmp_path)
    announce_again(store, record, SENT)
    store.release(record.id, 30.0)
    assert not wire.at(store, 1.0)
    assert wire.sent == []
    assert not anything_to_announce(store)


def test_nothing_is_sent_in_a_namespace_that_has_taken_the_pods_path(
    store: Store, wire: Wire, tmp_path: Path
) -> None:
    record = held(store, tmp_path)
    announce_again(store, record, SENT)
    Path(record.attachment.netns).rename(tmp_path / "elsewhere")
    Path(record.attachment.netns).touch()
    wire.at(store, 1.0)
    assert wire.sent == []


@pytest.mark.parametrize("seconds", [-0.5, announcing.STALE_SECONDS + 0.5])
def test_what_is_of_another_time_is_forgotten(
    store: Store, wire: Wire, tmp_path: Path, seconds: float
) -> None:
    announce_again(store, held(store, tmp_path), SENT)
    assert not wire.at(store, seconds)
    assert wire.sent == []
    assert not anything_to_announce(store)


@pytest.mark.parametrize("text", ["", "{}", "[1000, 0]", '[1000, 0, [["MOON", "eth0", "::1"]]]'])
def test_what_can_not_be_read_does_not_keep_the_sweeper(
    store: Store, wire: Wire, tmp_path: Path, text: str
) -> None:
    store.remember(f"announce|{held(store, tmp_path).nonce}", text)
    assert not wire.at(store, 1.0)
    assert not anything_to_announce(store)


def test_a_link_that_is_not_there_yet_may_be_at_the_next_time(
    store: Store, wire: Wire, tmp_path: Path
) -> None:
    """Our IPAM's ADD is over before another's main plugin has brought the interface up."""
    announce_again(store, held(store, tmp_path), SENT)
    wire.fails = True
    assert wire.at(store, 1.0)
    wire.fails = False
    wire.at(store, 2.0)
    assert wire.times == [1.0, 2.0]


def test_it_is_kept_without_waiting_for_the_disk_and_what_follows_is_synced_again(
    store: Store, tmp_path: Path
) -> None:
    announce_again(store, held(store, tmp_path), SENT)
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    with Store(str(tmp_path / "state")) as other:
        assert anything_to_announce(other)


def test_add_asks_somebody_to_do_it_and_learns_whether_the_pod_is_there_still(
    store: Store, tmp_path: Path
) -> None:
    started: list[str] = []
    record = held(store, tmp_path)
    config = IpamConfig(type="cni-ipam-neutron", state_dir=str(tmp_path / "state"))
    request = IpamRequest("net", record.attachment, config, Deadline.after(PATIENCE))
    ipam = NeutronIpam(Polling, started.append)

    ipam.attached(request, ())
    assert not anything_to_announce(store)
    assert started == []

    assert ipam.attached(request, SENT) == record.lease == LEASE
    assert anything_to_announce(store)
    assert started == [config.state_dir]

    store.release(record.id, 30.0)
    assert ipam.attached(request, SENT) is None
    assert started == [config.state_dir]


def test_a_sweeper_that_waits_for_neutron_announces_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it stays until all is sent, also where nothing is to be given back."""
    announced, in_time = threading.Event(), list[bool]()
    times: list[Sequence[Announcement]] = []

    def send(wanted: Sequence[Announcement], netns: str) -> None:
        times.append(wanted)
        announced.set()

    def settle(store: Store, anchor: str, deadline: Deadline) -> None:
        in_time.append(announced.wait(PATIENCE))
        store.forget([record.id for record in store.queue(anchor) if record.token == "old"])

    monkeypatch.setattr(announce, "send_from", send)
    monkeypatch.setattr(sweeper, "settle_anchor", settle)
    folder = str(tmp_path / "state")
    with Store(folder) as store:
        record = held(store, tmp_path)
        announce_again(store, record, SENT[:1])
        store.add_recovered(cooling("old", time.time()))

    sweeper.main(folder)

    assert in_time[0]
    assert times == [SENT[:1]] * 3

"""Announces pods' addresses again, for some seconds after ADD has done it for the first time.

Where an address was another pod's before, routers and VMs remember that one's MAC; on ML2/OVS a
reused address was dead for 8 to 42 s. ADD's own announcement is lost there: port security lets the
address pass only 0.1 to 2.1 s after Neutron's answer, and nothing tells when. Four within three
seconds made the address work after 2.4 s.

What is to be sent is a fact in the store, and the sweeper's process sends it. It is no promise: a
power failure or a kill loses announcements and nothing else, so the fact is not synced to the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import msgspec

from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.store import Record, State, Store
from neutron_cni.store.sandbox import inode_of
from neutron_cni.values.errors import CniError

LAST = 3
"""The last of the announcements is sent so many seconds after the first, one each second."""
STALE_SECONDS = 10.0
"""What was due so long ago, or at another clock, is not sent any more: nobody was there."""
LOOK_SECONDS, IDLE_SECONDS = 0.2, 1.0
"""How often the store is looked at while something waits, and while nothing does."""
_FACT = "announce|"

Send = Callable[[Sequence[Announcement], str], None]
"""Sends announcements in the caller's namespace and in the pod's at a path; raises CniError."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is to be sent, since when (Unix seconds), and how many seconds' announcements were."""

    began: float
    count: int
    wanted: tuple[Announcement, ...]

    def __str__(self) -> str:
        links = [(item.side.name, item.link, str(item.address)) for item in self.wanted]
        return msgspec.json.encode((self.began, self.count, links)).decode()

    @classmethod
    def read(cls, text: str) -> _Waiting | None:
        """None where another version wrote it."""
        try:
            began, count, links = msgspec.json.decode(text)
            wanted = [Announcement(Side[side], link, ip_address(ip)) for side, link, ip in links]
            return cls(float(began), int(count), tuple(wanted))
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            return None


def announce_again(store: Store, record: Record, sent: Sequence[Announcement]) -> None:
    """Have the sweeper repeat what ADD has just sent for a lease. Raises CniError STORE."""
    if sent:
        _keep(store, record.nonce, _Waiting(time.time(), 0, tuple(sent)))


def anything_to_announce(store: Store) -> bool:
    """Whether the sweeper has to stay for it."""
    return bool(store.facts(_FACT))


def announce_due(store: Store, send: Send) -> bool:
    """Send what is due now, and forget what was sent often enough, or whose pod went.

    Returns whether something is left for later. Raises CniError STORE. That a link is gone, or not
    there yet, is no error.
    """
    left = False
    for nonce, text in store.facts(_FACT).items():
        waiting, record = _Waiting.read(text), _holder(store, nonce)
        since = time.time() - waiting.began if waiting else -1.0
        if waiting is None or record is None or not 0 <= since <= STALE_SECONDS:
            _keep(store, nonce, None)
            continue
        due = min(LAST, int(since))
        left = left or due < LAST
        if due > waiting.count:
            with suppress(CniError):
                send(waiting.wanted, record.attachment.netns)
            _keep(store, nonce, replace(waiting, count=due) if due < LAST else None)
    return left


class Announcer:
    """Sends what is due in a store while another thread does what takes longer.

    Use as a context manager.
    """

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        from neutron_cni.netlink.announce import send_from  # A call that only waits needs none.

        left = True
        while not self._end.wait(LOOK_SECONDS if left else IDLE_SECONDS):
            left = False
            # A store that can't be read is the other thread's to complain about.
            with suppress(Exception):
                if Path(self._state_dir).is_dir():
                    with Store(self._state_dir) as store:
                        left = announce_due(store, send_from)


def _holder(store: Store, nonce: str) -> Record | None:
    """The lease, while a pod has it in the namespace that ADD found at its path."""
    record = store.by_nonce(nonce)
    if record is None or record.state is not State.HELD:
        return None
    path = record.attachment.netns
    return record if inode_of(path) == record.netns_inode else None


def _keep(store: Store, nonce: str, waiting: _Waiting | None) -> None:
    store.remember(f"{_FACT}{nonce}", str(waiting) if waiting else None, durable=False)

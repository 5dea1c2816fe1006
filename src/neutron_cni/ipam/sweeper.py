"""Gives addresses back when their rest is over, and announces those of new pods once more: a
process that lives as long as there is work.

Without an agent nobody is there when a quarantine ends, when Neutron comes back after a DEL, or a
second after an ADD.
So a call that leaves such work starts one sweeper per node, which ends when nothing is left. Kill
it, and the next call starts another: all it knows is in the store.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neutron_cni.ipam.anchors import trouble_fact
from neutron_cni.ipam.announcing import LOOK_SECONDS, Announcer, anything_to_announce
from neutron_cni.ipam.lock import FileLock, anchor_lock
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.light import import_lightly
from neutron_cni.store import State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.scrub import scrub

SETTLE_SECONDS = 120.0
FIRST_RETRY, LAST_RETRY = 1.0, 300.0
LONGEST_SLEEP = 5.0
"""The clock may be set, and rows may be added, while we sleep."""


def start_sweeper(state_dir: str) -> None:
    """Start the node's sweeper unless one runs. Never raises: its work stays in the store."""
    import subprocess  # Slow, and most calls need none.

    try:
        with _lock(state_dir) as lock:
            if not lock.try_acquire():
                return
        isolated = ["-I"] if sys.flags.isolated else []
        command = [sys.executable, *isolated, "-m", "neutron_cni.ipam.sweeper"]
        # The runtime waits for our standard output to be closed, so the child gets none of it.
        subprocess.Popen(
            [*command, state_dir],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, CniError):
        return


def main(state_dir: str) -> None:
    """Give back what is due, and wait for what becomes due, until nothing is left."""
    trouble = 0.0
    while Path(state_dir).is_dir():
        with _lock(state_dir) as lock:
            if not lock.try_acquire():
                return
            with Announcer(state_dir):
                done = _sweep(state_dir)
        if done:
            trouble = 0.0
            # A DEL that came after our last look, and before the lock was free, started no sweeper.
            with suppress(Exception), Store(state_dir) as store:
                if not store.due(time.time()) and not anything_to_announce(store):
                    return
        else:
            # Without the lock, so that a sweeper of another version may take over: the store may
            # be of a schema that this one can't read.
            trouble = min(LAST_RETRY, max(FIRST_RETRY, 2 * trouble))
            time.sleep(trouble)


def _lock(state_dir: str) -> FileLock:
    return FileLock(state_dir, "sweeper")


@dataclass(frozen=True, slots=True)
class _Retry:
    """Leases that could not be given back: when to try again, and how long to wait after that.

    `at` is by the monotonic clock, as the other may be set back by hours. Leases that become due
    meanwhile do not wait for these (`tried`): one of them may have an address that a floating IP
    points at, for days.
    """

    at: float = 0.0
    wait: float = 0.0
    tried: frozenset[int | str] = frozenset()


def _sweep(state_dir: str) -> bool:
    """Rounds until nothing is left; False where one failed: a full disk, a store that can't be
    opened. That may pass."""
    retries: dict[str, _Retry] = {}
    try:
        while (waits := _round(state_dir, retries)) is not None:
            if waits:
                time.sleep(min(LONGEST_SLEEP, max(0.05, min(waits))))
    except Exception as error:
        with suppress(Exception), Store(state_dir) as store:
            store.remember("sweep", _said(error))
        return False
    return True


def _round(state_dir: str, retries: dict[str, _Retry]) -> list[float] | None:
    """Settle what is ready; the seconds until more is, None when nothing is left."""
    if not Path(state_dir).is_dir():
        return None
    with Store(state_dir) as store:
        now = time.time()
        if not store.due(now):
            return [LOOK_SECONDS] if anything_to_announce(store) else None
        for anchor in _ready(store, retries, now):
            retry, tried = retries.pop(anchor, _Retry()), _due(store, anchor, now)
            _settle(store, anchor, state_dir)
            left = tried & _due(store, anchor, now)
            if left:
                wait = min(LAST_RETRY, max(FIRST_RETRY, 2 * retry.wait))
                retries[anchor] = _Retry(time.monotonic() + wait, wait, left)
        return [
            max(at - time.time(), retries.get(anchor, _Retry()).at - time.monotonic())
            for anchor, at in store.due(now).items()
        ]


def _ready(store: Store, retries: dict[str, _Retry], now: float) -> list[str]:
    """Anchors with something due that was not tried yet, or is to be tried again now."""
    ready = []
    for anchor in store.due(now):
        retry, due = retries.get(anchor, _Retry()), _due(store, anchor, now)
        if due and (retry.at <= time.monotonic() or due - retry.tried):
            ready.append(anchor)
    return ready


def _due(store: Store, anchor: str, now: float) -> frozenset[int | str]:
    """The leases to be given back by now, and why the NICs for pods to come are to be seen to: a
    new reason is not what was tried in vain."""
    due: set[int | str] = {
        record.id
        for record in store.queue(anchor)
        if record.state in (State.COOLING, State.RELEASED) and record.until <= now
    }
    mark = store.refill_mark(anchor)
    return frozenset(due if mark is None else due | {mark})


def _settle(store: Store, anchor: str, state_dir: str) -> None:
    deadline = Deadline.after(SETTLE_SECONDS)
    with anchor_lock(state_dir, anchor) as lock:
        while not lock.try_acquire():
            if deadline.left <= 0:
                return
            time.sleep(0.05)
        try:
            settle_anchor(store, anchor, deadline)
            store.remember(trouble_fact(anchor), None)
        except Exception as error:  # whatever it is: the other anchors need us all the same
            store.remember(trouble_fact(anchor), _said(error))


def _said(error: Exception) -> str:
    unexpected = "" if isinstance(error, CniError) else f"{type(error).__name__}: "
    return scrub(f"{unexpected}{error}")


if __name__ == "__main__":
    import_lightly()
    main(sys.argv[1])

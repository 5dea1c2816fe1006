"""The end of a lease: from DEL, by its rest and by looks at Neutron without it, to no row."""

from __future__ import annotations

import time
from collections.abc import Iterable

from neutron_cni.store.leases import Leases
from neutron_cni.store.record import Record, State

LATE_ANSWER_SECONDS = 120.0
"""How long a change whose answer was lost may still arrive at Neutron's database."""

ABSENCE_SECONDS = 5.0
"""So long after the first one a second look has to find nothing, before anything is forgotten: a
gateway's or a database's one bad answer is no proof."""


class GivingBack(Leases):
    """The transitions that end a lease, each one durable transaction."""

    def release(self, record_id: int, quarantine: float, owner: str = "") -> None:
        """DEL: whatever the state of the lease, from now on the attachment has none.

        With `owner` only if that process is the one whose call waits (`Record.owner`).
        """
        now = time.time()
        with self._transaction():
            record = self.get(record_id)
            if record is None or (owner and record.owner != owner):
                return
            if record.state in (State.WANTED, State.FAILED):
                self._forget([record_id])
            elif record.state is State.INTENDED:
                # Whether the change was made is not known yet: watch for one that comes late.
                self._move(
                    record_id, (State.INTENDED,), State.RELEASED, until=now + LATE_ANSWER_SECONDS
                )
            elif record.state is State.HELD:
                until = max(now + quarantine, record.until)
                self._move(record_id, (State.HELD,), State.COOLING, until=until)

    def hold_again(self, record_id: int, netns: str, inode: int) -> None:
        """A namespace has a recovered lease's address after all: cooling -> held.

        Where the attachment has another lease by now, this one's quarantine begins anew.
        """
        with self._transaction():
            record = self.get(record_id)
            if record is None or record.state is not State.COOLING:
                return
            if self._live(record.token) is None:
                self._move(record_id, (State.COOLING,), State.HELD, until=0.0)
                self._db.execute(
                    "UPDATE lease SET netns = ?, netns_inode = ? WHERE id = ?",
                    (netns, inode, record_id),
                )
            else:
                until = time.time() + max(1.0, record.config.quarantine)
                self._move(record_id, (State.COOLING,), State.COOLING, until=until)

    def end_quarantine(self, record_ids: Iterable[int]) -> None:
        """The quarantine is over: cooling -> released, written before Neutron is asked."""
        with self._transaction():
            for record_id in record_ids:
                self._move(record_id, (State.COOLING,), State.RELEASED, until=0.0)

    def note_absent(self, record_ids: Iterable[int]) -> set[int]:
        """Neutron was seen without these released leases. Returns those whose row may go.

        That is who was seen so before, long enough ago; the others become due for a second look.
        """
        ids = list(record_ids)
        if not ids:
            return set()
        now, certain = time.time(), set()
        with self._transaction():
            for record_id in ids:
                row = self._db.execute(
                    "SELECT absent, until FROM lease WHERE id = ? AND state = 'released'",
                    (record_id,),
                ).fetchone()
                if row is not None and not row["absent"]:
                    self._db.execute(
                        "UPDATE lease SET absent = ?, until = MAX(until, ?) WHERE id = ?",
                        (now, now + ABSENCE_SECONDS, record_id),
                    )
                elif row is not None and max(row["until"], row["absent"] + ABSENCE_SECONDS) <= now:
                    certain.add(record_id)
        return certain

    def note_present(self, record_ids: Iterable[int]) -> None:
        """Neutron has again, or still, what these released leases stand for."""
        rows = [(record_id,) for record_id in record_ids]
        if rows:
            with self._transaction():
                self._db.executemany("UPDATE lease SET absent = 0 WHERE id = ?", rows)

    def forget(self, record_ids: Iterable[int]) -> None:
        """Remove the rows: Neutron has nothing of these leases any more."""
        with self._transaction():
            self._forget(record_ids)

    def drop(self, records: Iterable[Record]) -> None:
        """Remove requests for which nothing was done, except where a new call waits for one."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM lease WHERE id = ? AND owner = ? AND state IN ('wanted', 'failed')",
                [(record.id, record.owner) for record in records],
            )

"""The store: every change of a lease's state, each one durable transaction.

Nothing here knows Neutron or the kernel. Transitions carry the state they start from in their
WHERE clause, so that of two processes (an ADD that is served and the DEL of the same container)
exactly one wins and the other sees it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from neutron_cni.store import clock, machine
from neutron_cni.store.boot import release_all
from neutron_cni.store.database import Database, address_in
from neutron_cni.store.lease_json import lease_to_json
from neutron_cni.store.record import Entry, PortAddress, Record, State, to_row
from neutron_cni.store.sandbox import inode_of
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease

LATE_ANSWER_SECONDS = 120.0
"""How long a change whose answer was lost may still arrive at Neutron's database."""

ABSENCE_SECONDS = 5.0
"""So long after the first one a second look has to find nothing, before anything is forgotten: a
gateway's or a database's one bad answer is no proof."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIVE = "('wanted', 'intended', 'held', 'failed')"


class Store(Database):
    """One node's leases in `<state_dir>/store.db`. Use as a context manager."""

    # Reading

    def live(self, network: str, attachment: Attachment) -> Record | None:
        """The lease that an attachment asks for or has, None where DEL came last."""
        found = self._live(attachment.token(network))
        return found if found is not None and found.may_be_of(network, attachment) else None

    def get(self, record_id: int) -> Record | None:
        """One lease by its row; None when it is gone."""
        return self._one("id = ?", record_id)

    def all(self) -> list[Record]:
        """Every lease, oldest first."""
        return self._records("1")

    def queue(self, anchor: str) -> list[Record]:
        """Every lease served under an anchor's lock, oldest first."""
        return self._records("anchor = ?", anchor)

    def entries(self) -> list[Entry]:
        """Every address of every lease; takes a small part of the time that `all` takes."""
        with self._errors():
            rows = self._db.execute(
                "SELECT lease.id, token, state, subnet_id, address FROM address"
                " JOIN lease ON lease.id = lease_id ORDER BY lease.id"
            ).fetchall()
            return [Entry(i, token, State(s), net, address_in(a)) for i, token, s, net, a in rows]

    def due(self, now: float) -> dict[str, float]:
        """Anchors with something to give back, and when (Unix seconds; past: now)."""
        with self._errors():
            rows = self._db.execute(
                "SELECT anchor, MIN(until) FROM lease"
                " WHERE state IN ('cooling', 'released') GROUP BY anchor"
            ).fetchall()
        return {anchor: max(now, until) for anchor, until in rows}

    # Changing a lease

    def want(self, record: Record) -> Record:
        """The attachment's live lease, or else its request, written before anything is done for it.

        Raises CniError where another attachment's token is the same: they are short.
        """
        row = to_row(record)
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        with self._transaction():
            existing = self._live(record.token)
            if existing is not None and not _may_be_asked_for(existing, record):
                raise CniError(
                    Code.TRY_AGAIN,
                    f"{record} has the same token {record.token} as {existing}",
                    "a matter of chance: a sandbox made anew has another id and another token",
                )
            if existing is not None and existing.state is not State.FAILED:
                self._db.execute(
                    "UPDATE lease SET owner = ?, netns = ?, netns_inode = ? WHERE id = ?",
                    (record.owner, record.attachment.netns, record.netns_inode, existing.id),
                )
                return existing
            if existing is not None:
                self._forget([existing.id])
            cursor = self._db.execute(f"INSERT INTO lease ({names}) VALUES ({marks})", row)
            self._write_addresses(int(cursor.lastrowid or 0), record.addresses)
            # Before the commit: a DEL may come right after it.
            found = self.get(int(cursor.lastrowid or 0))
        assert found is not None, "a row that was just written"
        return found

    def intend(self, picks: Mapping[int, tuple[PortAddress, ...]]) -> set[int]:
        """Record exactly what will be changed in Neutron, before it is. wanted -> intended.

        Returns those for whom that is still true: a DEL may have come since they were read, and
        what is made for one that has no row any more would be found by nobody.
        """
        intended: set[int] = set()
        with self._transaction():
            for record_id, addresses in picks.items():
                changed = self._move(record_id, (State.WANTED, State.INTENDED), State.INTENDED)
                if changed:
                    self._write_addresses(record_id, addresses)
                    intended.add(record_id)
        return intended

    def hold(self, leases: Mapping[int, tuple[tuple[PortAddress, ...], Lease]]) -> None:
        """Neutron confirmed: intended -> held. A lease released meanwhile stays released."""
        with self._transaction():
            for record_id, (addresses, lease) in leases.items():
                if self._move(record_id, (State.INTENDED,), State.HELD):
                    self._db.execute(
                        "UPDATE lease SET answer = ?, until = 0 WHERE id = ?",
                        (lease_to_json(lease), record_id),
                    )
                    self._write_addresses(record_id, addresses)

    def watch(self, record_id: int) -> None:
        """What a held lease lacks in Neutron is about to be made again, and may come late."""
        with self._transaction():
            until = time.time() + LATE_ANSWER_SECONDS
            self._db.execute(
                "UPDATE lease SET until = ? WHERE id = ? AND state = 'held'", (until, record_id)
            )

    def relocate(self, record_id: int, port_id: str, nic_mac: str) -> None:
        """A held lease's addresses are on another port now, that of the NIC with `nic_mac`.

        So is its traffic, unless the port that carries it never had the addresses.
        """
        with self._transaction():
            record = self.get(record_id)
            if record is None or record.state is not State.HELD or record.lease is None:
                return
            moved = any(item.port_id == record.lease.port_id for item in record.addresses)
            lease = record.lease
            if moved:
                lease = replace(lease, port_id=port_id, nic_mac=nic_mac)
            self._db.execute(
                "UPDATE lease SET answer = ?, until = 0 WHERE id = ?",
                (lease_to_json(lease), record_id),
            )
            self._write_addresses(
                record_id, tuple(replace(item, port_id=port_id) for item in record.addresses)
            )

    def fail(self, errors: Mapping[int, CniError]) -> None:
        """Nothing was changed in Neutron for these, and nothing will be: wanted -> failed."""
        with self._transaction():
            for record_id, error in errors.items():
                if self._move(record_id, (State.WANTED,), State.FAILED):
                    self._note_error(record_id, error)

    def abandon(self, errors: Mapping[int, CniError]) -> None:
        """A change was sent and can't be confirmed: intended -> released, watched for a while."""
        with self._transaction():
            for record_id, error in errors.items():
                until = time.time() + LATE_ANSWER_SECONDS
                if self._move(record_id, (State.INTENDED,), State.RELEASED, until=until):
                    self._note_error(record_id, error)

    def return_to_wanted(self, record_ids: Iterable[int]) -> None:
        """Neutron refused the whole change, so nothing was made: intended -> wanted."""
        with self._transaction():
            for record_id in record_ids:
                if self._move(record_id, (State.INTENDED,), State.WANTED):
                    self._write_addresses(record_id, ())

    def return_to_wanted_and_watch(self, record_ids: Iterable[int], until: float) -> None:
        """Have others chosen, though Neutron may have the present addresses: intended -> wanted.

        These move to a lease of their own, which is released, and watched until `until` (Unix
        seconds).
        """
        with self._transaction():
            for record_id in record_ids:
                record = self.get(record_id)
                if record is None or record.state is not State.INTENDED:
                    continue
                now = time.time()
                left = replace(
                    record,
                    nonce=uuid4().hex,
                    state=State.RELEASED,
                    owner="",
                    changed=now,
                    until=until,
                    absent=0.0,
                )
                self._move(record_id, (State.INTENDED,), State.WANTED)
                self._write_addresses(record_id, ())
                self._insert(left)

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

    def add_recovered(self, record: Record) -> None:
        """A new row for what was found in Neutron with our mark, and no lease: it was lost."""
        with self._transaction():
            self._insert(record)

    # Inside

    def _live(self, token: str) -> Record | None:
        return self._one(f"token = ? AND state IN {_LIVE}", token)

    def _opened(self) -> None:
        self._note_machine()
        self._note_boot()
        self._note_clock()

    def _note_machine(self) -> None:
        """Raises CopiedStore where another machine wrote this store."""
        known = self.fact(machine.FACT)
        if not known and machine.machine():
            self.remember(machine.FACT, machine.machine())
        elif known and machine.is_another(known):
            raise machine.CopiedStore

    def _note_clock(self) -> None:
        """Begin quarantines anew which a clock that was set back would make last for hours."""
        now = time.time()
        with self._errors():
            if not clock.was_set_back(self._db, now):
                return
        with self._transaction():
            clock.begin_waits_anew(self._db, now, LATE_ANSWER_SECONDS)

    def _note_boot(self) -> None:
        """After a reboot no sandbox of before exists: what was held goes into quarantine."""
        boot = BOOT_ID.read_text().strip()
        if self.fact("boot") == boot:
            return
        with self._transaction():
            row = self._db.execute("SELECT value FROM fact WHERE key = 'boot'").fetchone()
            if row is not None and row["value"] != boot:
                release_all(self._db, LATE_ANSWER_SECONDS)
            self._db.execute(
                "INSERT OR REPLACE INTO fact (key, value, at) VALUES ('boot', ?, ?)",
                (boot, time.time()),
            )


def _may_be_asked_for(existing: Record, record: Record) -> bool:
    """Whether the request is the lease's attachment's own, as far as tokens and namespaces tell.

    Of a recovered lease only the token is known, and the namespace that has its address: if that
    lives and is another than the request's, the token is the same by chance.
    """
    if not existing.may_be_of(record.network, record.attachment):
        return False
    recovered = not existing.attachment.container_id
    in_use = existing.netns_inode and inode_of(existing.attachment.netns) == existing.netns_inode
    return not (recovered and in_use and existing.netns_inode != record.netns_inode)

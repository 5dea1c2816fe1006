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
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS, GivingBack
from neutron_cni.store.lease_json import lease_to_json
from neutron_cni.store.record import PortAddress, Record, State, to_row
from neutron_cni.store.sandbox import inode_of
from neutron_cni.store.warm import WarmNics
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The kernel's id of this boot of the machine."""
    return BOOT_ID.read_text().strip()


class Store(WarmNics, GivingBack):
    """One node's leases in `<state_dir>/store.db`. Use as a context manager."""

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
        seconds). It takes the nonce along, and with it whatever carries that in Neutron.
        """
        with self._transaction():
            for record_id in record_ids:
                record = self.get(record_id)
                if record is None or record.state is not State.INTENDED:
                    continue
                now = time.time()
                left = replace(
                    record,
                    state=State.RELEASED,
                    owner="",
                    changed=now,
                    until=until,
                    absent=0.0,
                )
                self._move(record_id, (State.INTENDED,), State.WANTED)
                self._write_addresses(record_id, ())
                self._db.execute(
                    "UPDATE lease SET nonce = ? WHERE id = ?", (uuid4().hex, record_id)
                )
                self._insert(left)

    def add_recovered(self, record: Record) -> None:
        """A new row for what was found in Neutron with our mark, and no lease: it was lost."""
        with self._transaction():
            self._insert(record)

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
            if not clock.was_set_back(self._db, now, LATE_ANSWER_SECONDS):
                return
        with self._transaction():
            clock.begin_waits_anew(self._db, now, LATE_ANSWER_SECONDS)

    def _note_boot(self) -> None:
        """After a reboot no sandbox of before exists: what was held goes into quarantine."""
        boot = boot_id()
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

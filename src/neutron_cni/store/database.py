"""The database behind the store: opened soundly, its errors named, its rows as values."""

from __future__ import annotations

import sqlite3
import time
from _thread import allocate_lock
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from neutron_cni.store.damage import begin_use, end_use, is_suspicious, set_aside_if_damaged
from neutron_cni.store.machine import CopiedStore, set_aside_if_copied
from neutron_cni.store.record import PortAddress, Record, State, from_row, to_row
from neutron_cni.store.schema import BUSY_SECONDS, open_database, store_errors
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError

_IN_TURN = allocate_lock()
"""One transaction at a time per process: SQLite has the second one sleep, for up to 0.1 s."""


class Database:
    """`<state_dir>/store.db`, with facts; what leases mean is `Store`'s. A context manager.

    `patience`: seconds that each wait for another process may take, the opening included, which
    writes after a reboot.
    """

    def __init__(self, state_dir: str, patience: float = BUSY_SECONDS) -> None:
        self._patience = patience
        self.path = Path(state_dir) / "store.db"
        begin_use()
        try:
            self._open_soundly()
        except BaseException:
            end_use()
            raise

    def _open_soundly(self) -> None:
        try:
            self._open()
        except CopiedStore:
            set_aside_if_copied(self.path, self._patience)
            self._open()
        except CniError as error:
            if not is_suspicious(error):
                raise
            set_aside_if_damaged(self.path, self._patience)
            self._open()

    def _open(self) -> None:
        self._db = open_database(self.path, self._patience)
        try:
            self._opened()
        except BaseException:
            self._db.close()
            raise

    def _opened(self) -> None:
        """Called each time the database has been opened, before anything is done with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._db.close()
        finally:
            end_use()

    def version(self) -> int:
        """A number that changes when another process has changed anything; takes microseconds."""
        with self._errors():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # Facts: looked up once, checked when used

    def fact(self, key: str, max_age: float | None = None) -> str | None:
        """A remembered fact, None when there is none or it is older than `max_age` seconds."""
        with self._errors():
            row = self._db.execute("SELECT value, at FROM fact WHERE key = ?", (key,)).fetchone()
        if row is None or (max_age is not None and not 0 <= time.time() - row["at"] <= max_age):
            return None
        return str(row["value"])

    def remember(self, key: str, value: str | None, durable: bool = True) -> None:
        """Remember a fact, or (None) forget it.

        Not `durable`: a power failure may undo it. It costs no wait for the disk.
        """
        if durable:
            with self._transaction():
                self._remember(key, value)
            return
        with self._errors():
            self._db.execute("PRAGMA synchronous=NORMAL")
        try:
            with self._transaction():
                self._remember(key, value)
        finally:
            self._db.execute("PRAGMA synchronous=FULL")

    def facts(self, prefix: str) -> dict[str, str]:
        """The facts whose keys begin with `prefix`, by the rest of their keys."""
        with self._errors():
            rows = self._db.execute(
                "SELECT substr(key, ?), value FROM fact WHERE substr(key, 1, ?) = ? ORDER BY at",
                (len(prefix) + 1, len(prefix), prefix),
            ).fetchall()
        return {str(rest): str(value) for rest, value in rows}

    def forget_old(self, prefix: str, seconds: float) -> None:
        """Forget facts whose keys begin with `prefix` and which were remembered so long ago."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM fact WHERE substr(key, 1, ?) = ? AND at < ?",
                (len(prefix), prefix, time.time() - seconds),
            )

    def has_given_addresses(self) -> bool:
        """Whether there are leases that Neutron confirmed: this node has had pods."""
        with self._errors():
            query = "SELECT 1 FROM lease WHERE state IN ('held', 'cooling', 'released') LIMIT 1"
            return self._db.execute(query).fetchone() is not None

    # For the store

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise SQLite's errors as CniError; set a damaged file aside before the next call."""
        try:
            with store_errors(self.path):
                yield
        except CniError as error:
            if is_suspicious(error) and not self._db.in_transaction:
                set_aside_if_damaged(self.path, self._patience)
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _IN_TURN, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _remember(self, key: str, value: str | None) -> None:
        """Inside of a transaction."""
        if value is None:
            self._db.execute("DELETE FROM fact WHERE key = ?", (key,))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO fact (key, value, at) VALUES (?, ?, ?)",
                (key, value, time.time()),
            )

    def _records(self, where: str, *values: Any) -> list[Record]:
        with self._errors():
            rows = self._db.execute(
                f"SELECT * FROM lease WHERE {where} ORDER BY id", values
            ).fetchall()
            held = self._addresses(where, values)
            return [from_row(row, held.get(row["id"], ())) for row in rows]

    def _addresses(self, where: str, values: tuple[Any, ...]) -> dict[int, tuple[PortAddress, ...]]:
        """Addresses by the lease's row; IPv4 first."""
        rows = self._db.execute(
            "SELECT lease_id, address, subnet_id, port_id FROM address"
            f" WHERE lease_id IN (SELECT id FROM lease WHERE {where})"
            " ORDER BY instr(address, ':') > 0, address",
            values,
        ).fetchall()
        found: dict[int, tuple[PortAddress, ...]] = {}
        for lease_id, address, subnet, port in rows:
            found[lease_id] = (
                *found.get(lease_id, ()),
                PortAddress(address_in(address), subnet, port),
            )
        return found

    def _one(self, where: str, *values: Any) -> Record | None:
        found = self._records(where, *values)
        return found[0] if found else None

    def _insert(self, record: Record) -> None:
        """A new row, unless its attachment has a live one or its nonce is known."""
        row = to_row(record)
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        cursor = self._db.execute(f"INSERT OR IGNORE INTO lease ({names}) VALUES ({marks})", row)
        if cursor.rowcount:
            self._write_addresses(int(cursor.lastrowid or 0), record.addresses)

    def _move(
        self, record_id: int, sources: tuple[State, ...], target: State, until: float | None = None
    ) -> bool:
        marks = ", ".join("?" for _ in sources)
        cursor = self._db.execute(
            f"UPDATE lease SET state = ?, changed = ?, until = COALESCE(?, until)"
            f" WHERE id = ? AND state IN ({marks})",
            (target.value, time.time(), until, record_id, *(item.value for item in sources)),
        )
        return cursor.rowcount > 0

    def _note_error(self, record_id: int, error: CniError) -> None:
        self._db.execute(
            "UPDATE lease SET error_code = ?, error = ?, error_details = ? WHERE id = ?",
            (error.code, error.message, error.details, record_id),
        )

    def _write_addresses(self, record_id: int, addresses: tuple[PortAddress, ...]) -> None:
        self._db.execute("DELETE FROM address WHERE lease_id = ?", (record_id,))
        self._db.executemany(
            "INSERT INTO address (lease_id, address, subnet_id, port_id) VALUES (?, ?, ?, ?)",
            [(record_id, str(item.address), item.subnet_id, item.port_id) for item in addresses],
        )

    def _forget(self, record_ids: Iterable[int]) -> None:
        self._db.executemany("DELETE FROM lease WHERE id = ?", [(item,) for item in record_ids])


def address_in(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error

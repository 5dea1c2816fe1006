"""Whether a store's file is damaged, and what becomes of it then: set aside, never deleted.

SQLite sees damage only where it looks, so an error in mid-use leads here: the file is read as a
whole, every row as the value that it stands for. A sound one stays; the error had another cause.
"""

from __future__ import annotations

import os
import sqlite3
import time
from _thread import allocate_lock
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from neutron_cni import files
from neutron_cni.store import schema
from neutron_cni.store.record import PortAddress, from_row
from neutron_cni.store.schema import exclusive, raw_connection, store_errors, version_of
from neutron_cni.values.errors import CniError

_SURROUNDINGS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary result codes that speak of the disk, the memory or other processes, not of the file."""
_FORMATS = (1, 2)
_FORMATS_AT = slice(18, 20)
"""File format write and read version; a write version unknown to SQLite makes a file read-only.

Source: SQLite, "Database File Format", section 1.3.3.
"""
_COUNTING = allocate_lock()
_users = 0
_looked_at: list[int] = []
"""Descriptors of files whose beginning was read."""


def begin_use() -> None:
    """Called by whoever may have a store open, before it has: `end_use` follows."""
    global _users
    with _COUNTING:
        _users += 1


def end_use() -> None:
    """Called once it is closed. The last one closes what was opened to look at files.

    Closed earlier, that would take away the locks that other connections of this process have on
    the file (https://sqlite.org/howtocorrupt.html, section 2.2).
    """
    global _users
    with _COUNTING:
        _users -= 1
        while not _users and _looked_at:
            os.close(_looked_at.pop())


def is_suspicious(error: CniError) -> bool:
    """Whether what SQLite said could come from a damaged file.

    A file that is read-only may be so by a byte of its own; looking at it tells.
    """
    cause = error.__cause__
    if not isinstance(cause, sqlite3.Error):
        return False
    return _kind(cause) not in _SURROUNDINGS or _kind(cause) == sqlite3.SQLITE_READONLY


def set_aside_if_damaged(path: Path, patience: float) -> bool:
    """Read it all; whether it was damaged, and is out of the way now. Raises CniError STORE."""
    with store_errors(path), exclusive(path, patience):
        if not path.exists() or _is_sound(path, patience):
            return False
        set_aside(path, "damaged")
    return True


def set_aside(path: Path, why: str) -> None:
    """Rename, never delete: an operator may want to look. WAL and SHM go with the file."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for suffix in ("-wal", "-shm", ""):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{path}.{why}-{stamp}-{os.getpid()}{suffix}")


def _is_sound(path: Path, patience: float) -> bool:
    beginning = files.open_own(str(path), os.O_RDONLY)
    _looked_at.append(beginning)  # `end_use` closes it.
    header = os.pread(beginning, 100, 0)
    if header and any(value not in _FORMATS for value in header[_FORMATS_AT]):
        return False
    try:
        with closing(raw_connection(path, patience)) as connection:
            return _reads_well(connection)
    except UnicodeDecodeError:
        return False
    except sqlite3.Error as error:
        if _kind(error) in _SURROUNDINGS:
            raise
        return False


def _reads_well(connection: sqlite3.Connection) -> bool:
    if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        return False
    version = version_of(connection)
    if version == 0:
        return not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    if version < len(schema.MIGRATIONS):
        # Rows of then are no rows of today's. What is wrong with one shows after the migration.
        return schema.is_marked(connection, version)
    if version > len(schema.MIGRATIONS):
        return True
    try:
        addresses = connection.execute("SELECT lease_id, address, subnet_id, port_id FROM address")
        for row in addresses.fetchall():
            PortAddress(ip_address(row["address"]), str(row["subnet_id"]), str(row["port_id"]))
        for row in connection.execute("SELECT * FROM lease").fetchall():
            from_row(row, ())
        for row in connection.execute("SELECT key, value, at FROM fact").fetchall():
            float(row["at"])
    except sqlite3.Error:
        raise
    except Exception:  # whatever a value of the wrong kind leads to
        return False
    return True


def _kind(error: sqlite3.Error) -> int:
    """The primary result code; -1 where Python's module made the error itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF

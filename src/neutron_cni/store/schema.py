"""The database file: its tables and their versions.

SQLite in WAL mode with synchronous=FULL: a transaction that was answered survives power loss.
`PRAGMA user_version` is the schema's version; migrations run in order, each in a transaction.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neutron_cni import files
from neutron_cni.values.errors import CniError, Code

BUSY_SECONDS = 20.0
"""How long a writer waits for another unless its caller is in a hurry: transactions here take
milliseconds."""

_MARK = 0x6E634E00
"""`PRAGMA application_id` is this plus the schema's version: tells a newer one from damage."""

_BESIDE = ("-wal", "-shm", "-journal")
"""What the names of the files end with that SQLite makes beside a database."""

FULL_BYTES = 64 << 10
"""A disk with less room counts as full: the write-ahead log's index alone takes half of it."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY,
        nonce TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL,
        network TEXT NOT NULL,
        container_id TEXT NOT NULL,
        ifname TEXT NOT NULL,
        netns TEXT NOT NULL,
        netns_inode INTEGER NOT NULL,
        pod_namespace TEXT NOT NULL,
        pod_name TEXT NOT NULL,
        pod_uid TEXT NOT NULL,
        mode TEXT NOT NULL,
        anchor TEXT NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('wanted', 'intended', 'held', 'cooling', 'released', 'failed')),
        config TEXT NOT NULL,
        wish TEXT NOT NULL,
        answer TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        until REAL NOT NULL DEFAULT 0,
        error_code INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        error_details TEXT NOT NULL DEFAULT ''
    );
    CREATE UNIQUE INDEX lease_live ON lease (token)
        WHERE state IN ('wanted', 'intended', 'held', 'failed');
    CREATE INDEX lease_queue ON lease (anchor, mode, state);
    CREATE TABLE address (
        lease_id INTEGER NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        subnet_id TEXT NOT NULL,
        port_id TEXT NOT NULL,
        PRIMARY KEY (lease_id, address)
    );
    CREATE INDEX address_by_text ON address (address);
    CREATE TABLE fact (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        at REAL NOT NULL
    );
    """,
    "ALTER TABLE lease ADD COLUMN absent REAL NOT NULL DEFAULT 0",
    # A state more: SQLite changes no CHECK, so the table is made anew (lang_altertable, section 7).
    """
    CREATE TABLE lease_with_ready (
        id INTEGER PRIMARY KEY,
        nonce TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL,
        network TEXT NOT NULL,
        container_id TEXT NOT NULL,
        ifname TEXT NOT NULL,
        netns TEXT NOT NULL,
        netns_inode INTEGER NOT NULL,
        pod_namespace TEXT NOT NULL,
        pod_name TEXT NOT NULL,
        pod_uid TEXT NOT NULL,
        mode TEXT NOT NULL,
        anchor TEXT NOT NULL,
        state TEXT NOT NULL CHECK (
            state IN ('wanted', 'intended', 'held', 'cooling', 'released', 'failed', 'ready')
        ),
        config TEXT NOT NULL,
        wish TEXT NOT NULL,
        answer TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        until REAL NOT NULL DEFAULT 0,
        error_code INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        error_details TEXT NOT NULL DEFAULT '',
        absent REAL NOT NULL DEFAULT 0
    );
    INSERT INTO lease_with_ready SELECT * FROM lease;
    DROP TABLE lease;
    ALTER TABLE lease_with_ready RENAME TO lease;
    CREATE UNIQUE INDEX lease_live ON lease (token)
        WHERE state IN ('wanted', 'intended', 'held', 'failed');
    CREATE INDEX lease_queue ON lease (anchor, mode, state);
    """,
)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors as CniError STORE, with what to do about them."""
    try:
        yield
    except sqlite3.OperationalError as error:
        advice = _advice(str(error), _is_full(path))
        raise CniError(Code.STORE, f"store {path}: {error}", advice) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # SQLite quotes names from the file in its messages, whatever bytes they are.
        cause = error if isinstance(error, sqlite3.Error) else sqlite3.DatabaseError(str(error))
        raise CniError(
            Code.STORE,
            f"store {path} is damaged: {error}",
            "it is set aside, and rebuilt from Neutron and the namespaces; try again",
        ) from cause
    except OSError as error:
        raise CniError(
            Code.STORE, f"store {path}: {error.strerror or error}", "check the disk and permissions"
        ) from error


def open_database(path: Path, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
    """The database, created and migrated where that is needed.

    `patience`: seconds that each wait for another process may take, now and later.
    Raises CniError STORE; a file of a newer schema is refused, never touched, and so is one in a
    folder that other users can change. Files that others could read are tightened.
    """
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.require_private_folder(str(path.parent))
        for suffix in _BESIDE:
            files.tighten(f"{path}{suffix}")
        if files.tighten(str(path)):
            with suppress(_OutdatedError):
                return _patiently(_connect, path, patience)
        with exclusive(path, patience):
            # SQLite gives its other files the mode of this one.
            files.make(str(path))
            return _patiently(_migrated, path, patience)


def _patiently(
    open_it: Callable[[Path, float], sqlite3.Connection], path: Path, patience: float
) -> sqlite3.Connection:
    """Open it, again and again while it is busy.

    While the first connection of all is made, or the last one closed, SQLite refuses
    others without waiting for `timeout` (https://sqlite.org/wal.html, section 9).
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            return open_it(path, patience)
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


class _OutdatedError(Exception):
    """The file's schema is older than ours (or it is new and empty)."""


def _migrated(path: Path, patience: float) -> sqlite3.Connection:
    """Under the exclusive lock: look again, for another process may have been faster."""
    with suppress(_OutdatedError):
        return _connect(path, patience)
    connection = raw_connection(path, patience)
    with _closed_on_error(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        # With them a table that is made anew would take the rows along that refer to it.
        connection.execute("PRAGMA foreign_keys=OFF")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            mark = f"PRAGMA user_version={number}; PRAGMA application_id={_MARK + number}"
            connection.executescript(f"BEGIN IMMEDIATE;{script};{mark};COMMIT;")
        connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _connect(path: Path, patience: float) -> sqlite3.Connection:
    connection = raw_connection(path, patience)
    with _closed_on_error(connection):
        version = version_of(connection)
        if version > len(MIGRATIONS):
            raise CniError(
                Code.STORE,
                f"store {path} was written by a newer neutron-cni (schema {version}, "
                f"this one knows {len(MIGRATIONS)})",
                "install that version again, or move the file away to rebuild it",
            )
        if version < len(MIGRATIONS):
            raise _OutdatedError
        # Reads every table's root page: a file cut or overwritten shows here, not in mid-ADD.
        for table in ("lease", "address", "fact"):
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """The schema's version; sqlite3.DatabaseError where it can't be one, not even a later one."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if 0 <= version <= len(MIGRATIONS):
        return version
    if not is_marked(connection, version):
        raise sqlite3.DatabaseError(f"schema version {version}, but another one's mark")
    return version


def is_marked(connection: sqlite3.Connection, version: int) -> bool:
    """Whether the file's mark says the same version, as every version of neutron-cni writes it."""
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    return bool(mark == _MARK + version)


def raw_connection(path: Path, patience: float) -> sqlite3.Connection:
    """A connection to whatever is there, with the settings that every one has."""
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
    with _closed_on_error(connection):
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    return connection


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    """Close it when an error comes: an open one keeps SQLite from emptying its write-ahead log."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def exclusive(path: Path, patience: float) -> Iterator[None]:
    """The lock to create, migrate or set aside the file; the kernel frees it when we die.

    Raises CniError STORE where another process has it for `patience` seconds.
    """
    descriptor = files.open_own(f"{path}.lock", os.O_CREAT | os.O_RDWR)
    try:
        give_up = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() >= give_up:
                raise CniError(
                    Code.STORE,
                    f"store {path}: for {patience:.0f} s another process has had {path}.lock",
                    f"see who makes or upgrades the store, and why it does not end: lslocks | grep "
                    f"{path.name}.lock; the lock goes with it",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_full(path: Path) -> bool:
    """Whether the disk has no room, which SQLite may call an I/O error (of its shared memory)."""
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < FULL_BYTES


def _advice(message: str, full: bool) -> str:
    if "full" in message or ("I/O" in message and full):
        return "the disk is full: free some space; nothing was changed"
    if "locked" in message or "busy" in message:
        return "another process holds the store; the runtime will try again"
    if "readonly" in message or "unable to open" in message:
        return "check that the state directory exists and root may write there"
    return "check the disk; `neutron-cni leases` shows whether the store is readable"

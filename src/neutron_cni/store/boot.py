"""A reboot, noticed by the kernel's boot id: no sandbox of before exists any more."""

from __future__ import annotations

import sqlite3
import time

from neutron_cni.store.record import from_row


def release_all(db: sqlite3.Connection, late_answer_seconds: float) -> None:
    """Held leases go into quarantine, as by DEL; requests go. Called inside of a transaction."""
    now = time.time()
    for row in db.execute("SELECT * FROM lease WHERE state = 'held'").fetchall():
        rest = from_row(row, ()).config.rest
        db.execute(
            "UPDATE lease SET state = 'cooling', changed = ?, until = ? WHERE id = ?",
            (now, now + rest, row["id"]),
        )
    db.execute(
        "UPDATE lease SET state = 'released', changed = ?, until = ? WHERE state = 'intended'",
        (now, now + late_answer_seconds),
    )
    db.execute("DELETE FROM lease WHERE state IN ('wanted', 'failed')")

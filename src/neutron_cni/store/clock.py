"""A clock that was set back, by an operator or at last by NTP: no wait may last for hours."""

from __future__ import annotations

import sqlite3

TOLERANCE = 60.0
"""Seconds that the clock may go back unnoticed, as it does when time is kept by NTP."""


def was_set_back(db: sqlite3.Connection, now: float, longest_watch: float) -> bool:
    """Whether a lease was written later than now (Unix seconds), or is watched since then.

    `longest_watch`: how long a held lease is watched at most, in seconds.
    """
    later = now + TOLERANCE
    query = "SELECT 1 FROM lease WHERE changed > ? OR absent > ? OR (state = 'held' AND until > ?)"
    return db.execute(query, (later, later, later + longest_watch)).fetchone() is not None


def begin_waits_anew(db: sqlite3.Connection, now: float, longest_watch: float) -> None:
    """Every rest, and every time between two looks, that began later than now begins now.

    `longest_watch`: how long a lease that is held or released is watched at most, in seconds.
    Called inside of a transaction.
    """
    later = now + TOLERANCE
    db.execute(
        "UPDATE lease SET until = MAX(0, until - changed) + ?, changed = ?"
        " WHERE changed > ? AND until > 0",
        (now, now, later),
    )
    db.execute("UPDATE lease SET changed = ? WHERE changed > ?", (now, later))
    db.execute(
        "UPDATE lease SET absent = ?, until = MIN(until, ?) WHERE absent > ?",
        (now, now + longest_watch, later),
    )
    # When the watch over a held lease began is not written down, only when it ends.
    db.execute(
        "UPDATE lease SET until = ? WHERE state = 'held' AND until > ?",
        (now + longest_watch, later + longest_watch),
    )

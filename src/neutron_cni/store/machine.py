"""Which machine this is: a store that was copied to another one is not its own.

A snapshot of a running node, started as another VM, brings the node's store along. To that machine
it would look like its own after a reboot, and it would give back what the first node's pods use.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from neutron_cni.store.damage import set_aside
from neutron_cni.store.schema import exclusive, raw_connection, store_errors

PRODUCT_UUID = Path("/sys/class/dmi/id/product_uuid")
"""Nova gives every VM its own, and a copy of a disk does not take it along."""
MACHINE_ID = Path("/etc/machine-id")
"""On a disk, so that a copy has the same."""
FACT = "machine"


class CopiedStore(Exception):
    """The store was written by another machine."""


def machine() -> str:
    """What tells this machine from a copy of it; empty where nothing does (no DMI)."""
    return text_of(PRODUCT_UUID)


def is_another(known: str) -> bool:
    """Whether `known`, which the store remembers, is another machine than this one."""
    here = machine()
    return bool(known and here) and known != here


def text_of(path: Path) -> str:
    """What the file says, empty when it can't be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def set_aside_if_copied(path: Path, patience: float) -> None:
    """Move another machine's store out of the way; its leases are that machine's to give back."""
    with store_errors(path), exclusive(path, patience):
        if not path.exists():
            return
        # Looked at again: another process may have done it, and made a new one.
        with closing(raw_connection(path, patience)) as connection:
            query = "SELECT value FROM fact WHERE key = ?"
            row = connection.execute(query, (FACT,)).fetchone()
        if row is not None and is_another(row["value"]):
            set_aside(path, "of-another-machine")

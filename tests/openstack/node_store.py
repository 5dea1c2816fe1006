"""A node's store of leases, read and changed behind the back of the product."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from neutron_cni_lab import Lab, Node

_STORE = "/var/lib/neutron-cni/store.db"

_PROGRAM = """
import json, os, sqlite3, sys
path, statement, values = sys.argv[1:]
rows = []
if os.path.exists(path):
    connection = sqlite3.connect(path, timeout=60)
    connection.row_factory = sqlite3.Row
    with connection:
        connection.execute("PRAGMA foreign_keys=ON")
        rows = [dict(row) for row in connection.execute(statement, json.loads(values))]
    connection.close()
print(json.dumps(rows))
"""
"""Does what `in_store` does, on a node whose disk only its own kernel has mounted."""


def in_store(lab: Lab, node: Node, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Carry out one SQL statement: the rows that it gives; none where there is no store yet."""
    if node.kernel == "own":
        words = ["python3", "-I", "-S", "-c", _PROGRAM, _STORE, statement, json.dumps(values)]
        rows: list[dict[str, Any]] = json.loads(node.exec(words).stdout)
        return rows
    path = lab.places.node(node.name) / "root" / "var-lib" / "neutron-cni" / "store.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=60)) as connection, connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys=ON")
        return [dict(row) for row in connection.execute(statement, values)]

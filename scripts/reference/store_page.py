"""docs/reference/store.md: states, tables and times of the store."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import re
import sqlite3

from source import cell, constant, described

from neutron_cni.engine.lease_source import ROLLBACK_SECONDS
from neutron_cni.ipam.announcing import LAST
from neutron_cni.ipam.audit.compare import YOUNG_SECONDS, Kind
from neutron_cni.ipam.audit.leavings import MIN_AGE_SECONDS
from neutron_cni.ipam.readiness import INTERVAL, LONGEST_RETRY, RETRY
from neutron_cni.ipam.sweeper import FIRST_RETRY, LAST_RETRY
from neutron_cni.openstack.patience import CALL_TIMEOUT
from neutron_cni.store import State, record
from neutron_cni.store.giving_back import ABSENCE_SECONDS, LATE_ANSWER_SECONDS
from neutron_cni.store.schema import BUSY_SECONDS, MIGRATIONS
from neutron_cni.values.ipam_config import IpamConfig


def text() -> str:
    """The page."""
    config = IpamConfig(type="cni-ipam-neutron")
    kinds = described(Kind)
    missing = [kind.name for kind in Kind if kind.name not in kinds]
    if missing:
        raise SystemExit(f"no words for Kind {missing}")
    return f"""# The store

SQLite, one file per node. Look at it with `neutron-cni leases --offline` or
`neutron-cni leases --json`; its tables are no interface and may change.

## States of a lease

The diagram is in [ARCHITECTURE.md](../../ARCHITECTURE.md#the-life-of-a-lease).

| state | meaning |
|---|---|
{_states()}

## Differences that `neutron-cni leases` and `gc` name

| kind | meaning |
|---|---|
{_rows({kind.value: kinds[kind.name] for kind in Kind})}

## Times

| seconds | what |
|---|---|
| {config.quarantine:g} | default of `quarantine`: how long an address rests after DEL |
| {config.timeout:g} | default of `timeout`: what a call may take in all |
| {ROLLBACK_SECONDS:g} | beyond it, to undo an ADD that failed |
| {CALL_TIMEOUT:g} | one request to Neutron |
| {LATE_ANSWER_SECONDS:g} | {cell(_lower(constant("store/giving_back.py", "LATE_ANSWER_SECONDS")))} |
| {ABSENCE_SECONDS:g} | {cell(_lower(constant("store/giving_back.py", "ABSENCE_SECONDS")))} |
| {BUSY_SECONDS:g} | {cell(_lower(constant("store/schema.py", "BUSY_SECONDS")))} |
| {LAST} | the last of the announcements of a new pod after ADD, one each second |
| {FIRST_RETRY:g} to {LAST_RETRY:g} | the sweeper's pause between tries while Neutron refuses or is down |
| {INTERVAL:g} | {cell(_lower(constant("ipam/readiness.py", "INTERVAL")))} |
| {RETRY:g} to {LONGEST_RETRY:g} | the same while STATUS fails: the longer the cloud is away, the longer |
| {config.status_patience:g} | default of `statusPatience`: how long the cloud may be away before STATUS fails |
| {YOUNG_SECONDS:g} | {cell(_lower(constant("ipam/audit/compare.py", "YOUNG_SECONDS")))} |
| {MIN_AGE_SECONDS:g} | `gc --node`: {cell(_lower(constant("ipam/audit/leavings.py", "MIN_AGE_SECONDS")))} |

## Tables (schema {len(MIGRATIONS)})

| table | columns |
|---|---|
{_tables()}
"""


def _states() -> str:
    lines = re.findall(r"^(\w+) {2,}(.*)$", record.__doc__ or "", re.MULTILINE)
    words = dict(lines)
    if set(words) != {state.value for state in State}:
        raise SystemExit("the docstring of store/record.py does not name every state")
    return _rows(words)


def _rows(words: dict[str, str]) -> str:
    return "\n".join(f"| `{key}` | {cell(value)} |" for key, value in words.items())


def _tables() -> str:
    database = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        database.executescript(script)
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    rows = []
    for (table,) in tables.fetchall():
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        rows.append(f"| `{table}` | {', '.join(columns)} |")
    return "\n".join(rows)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")

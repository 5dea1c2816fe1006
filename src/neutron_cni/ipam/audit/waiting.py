"""Why a lease that is to go, or that was asked for, is not done with: what the last try met."""

from __future__ import annotations

import time

from neutron_cni.ipam.anchors import blocked_fact, trouble_fact
from neutron_cni.store import Record, State, Store


def why_waiting(store: Store, record: Record) -> str:
    """What is in the lease's way, in a sentence; empty where nothing is, or nobody has tried."""
    now = time.time()
    if record.state not in (State.COOLING, State.RELEASED):
        return record.failure.message if record.failure else ""
    if record.state is State.COOLING and record.until > now:
        return ""
    since = max(0.0, now - record.changed)
    for item in record.addresses:
        # Of an earlier lease of the address it says nothing about this one.
        blocked = store.fact(blocked_fact(record.anchor, item.address), since)
        if blocked:
            return blocked
    trouble = store.fact(trouble_fact(record.anchor))
    if not trouble and record.until > now:
        return "it goes once Neutron is seen without it again, as a change may still arrive"
    return trouble or ""

"""What each of the node's networks has left for further pods: of the last look, or of a new one."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni.ipam.audit.configured import configured
from neutron_cni.ipam.readiness import Look
from neutron_cni.ipam.room import MOST_COUNTED, Capacity, Limit, lack
from neutron_cni.ipam.status import last_look, look_again
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import Mode

RECENT = 120.0
"""Seconds: a count that is not older is shown instead of counting anew, as STATUS has just done."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a network has left; `counted` is when that was so (Unix seconds)."""

    network: str
    mode: Mode
    capacity: Capacity
    counted: float

    @property
    def in_words(self) -> str:
        """One line."""
        seen = self.capacity
        parts = [f"{_number(item.free)} free in {item}" for item in seen.subnets]
        parts += _limit("ports of the project", seen.ports)
        parts += _limit("address pairs of the VM's port", seen.pairs)
        parts += _limit("NICs of the VM", seen.nics)
        age = max(0.0, time.time() - self.counted)
        return f"{', '.join(parts) or 'no subnet on offer'} ({age:.0f} s ago)"

    @property
    def for_programs(self) -> dict[str, Any]:
        """The same as JSON; `ports`, `addressPairs`, `nics` are null where they do not matter."""
        seen = self.capacity
        return {
            "network": self.network,
            "mode": self.mode.value,
            "counted": self.counted,
            "full": self.is_full,
            "subnets": [
                {"name": item.name, "cidr": item.cidr, "free": item.free} for item in seen.subnets
            ],
            "ports": _used(seen.ports),
            "addressPairs": _used(seen.pairs),
            "nics": _used(seen.nics),
        }

    @property
    def is_full(self) -> bool:
        """Whether one more pod would get no address."""
        return lack(self.capacity) is not None


def left(store: Store, conf_dir: Path, offline: bool = False) -> list[Left]:
    """Every configured network of which it is known. Raises CniError STORE.

    `offline`: only what was counted before, whenever that was.
    """
    found = []
    for network, config in configured(conf_dir).networks.items():
        if Path(config.state_dir) != store.path.parent:  # with another store, which STATUS uses
            continue
        look = last_look(store, config)
        if not offline and not _is_recent(look):
            with suppress(CniError):  # of a full disk, say: what was counted before is shown
                look = look_again(store, config, Deadline.after(config.timeout))
        if look is not None and look.capacity is not None:
            found.append(Left(network, config.mode, look.capacity, look.counted))
    return found


def _is_recent(look: Look | None) -> bool:
    return look is not None and 0 <= time.time() - look.counted <= RECENT


def _used(limit: Limit | None) -> dict[str, int | None] | None:
    return None if limit is None else {"used": limit.used, "limit": limit.limit}


def _limit(of: str, limit: Limit | None) -> list[str]:
    if limit is None:
        return []
    return [f"{limit.used} of {'unknown' if limit.limit is None else limit.limit} {of}"]


def _number(free: int) -> str:
    return f"more than {MOST_COUNTED - 1}" if free >= MOST_COUNTED else str(free)

"""STATUS: could an ADD succeed now? Code 50 with the reason when it could not."""

from __future__ import annotations

import time

from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.settling import connect
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

LONGEST_HOLD = 150.0
"""Seconds that one may hold an anchor's lock: the sweeper's 120 for one round, and some more."""


def status(config: IpamConfig, deadline: Deadline) -> None:
    """Returns when an ADD could succeed now. Raises CniError PLUGIN_NOT_AVAILABLE."""
    mode = MODES[config.mode]
    anchor = mode.anchor(config, "status")
    try:
        with Store(config.state_dir) as store:
            context = connect(store, [config], anchor, deadline)
            _require_usable_lock(config, anchor)
            mode.page.require_capacity(context)
    except CniError as error:
        if error.code == Code.EXHAUSTED and not config.capacity_in_status:
            return
        raise CniError(Code.PLUGIN_NOT_AVAILABLE, error.message, error.details) from error


def _require_usable_lock(config: IpamConfig, anchor: str) -> None:
    """Raise CniError if a process has held the lock for longer than any call takes."""
    longest = max(LONGEST_HOLD, config.timeout)
    with anchor_lock(config.state_dir, anchor) as lock:
        pid, since = 0, 0.0
        for _ in range(2):
            if lock.try_acquire():
                return
            last = pid, since
            pid, since = lock.holder()
            if not since or time.time() - since < longest:
                return
            # Who has just taken it may not have written its name over that of the one before.
            time.sleep(0.2)
    if (pid, since) == last:
        raise CniError(
            Code.TRY_AGAIN,
            f"process {pid} has held the lock {lock.path} for {time.time() - since:.0f} s, "
            "and every ADD waits for it",
            f"see what it waits for (/proc/{pid}/stack), then end it: the lock goes with it",
        )

"""STATUS: could an ADD succeed now? Answered from the store, and rarely from the cloud.

What is decided is in `readiness`. Here is what it is decided from: the store's record of the last
look at the cloud, the clock, and a new look where one is due. One process looks at a time; others
answer from the record meanwhile. What talks to a cloud is imported by whoever looks, and only then.
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path
from random import random

import msgspec

from neutron_cni.ipam.anchors import unlisted_fact
from neutron_cni.ipam.lock import FileLock, Holder, anchor_lock
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.readiness import (
    Look,
    Moment,
    Situation,
    Verdict,
    decode,
    encode,
    judge,
    seen,
    while_another_asks,
)
from neutron_cni.ipam.room import Capacity, dangers
from neutron_cni.ipam.settling import connected
from neutron_cni.store import Store
from neutron_cni.store.store import boot_id
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

LONGEST_HOLD = 150.0
"""Seconds that one may hold an anchor's lock: the sweeper's 120 for one round, and some more."""
LOOK_SECONDS = 7.0
"""What a look at the cloud may take; a runtime waits ten for the whole of STATUS."""
STORE_SECONDS = 2.0
"""What STATUS waits for another process that writes into the store."""
KEPT_SECONDS = 30 * 86400.0
"""How long the looks of configurations that are no more are kept."""
_CLOUDS = ("/etc/openstack/clouds.yaml", "/etc/openstack/secure.yaml")


def status(config: IpamConfig, deadline: Deadline) -> list[str]:
    """Return when an ADD could succeed: sentences that the operator should read all the same.

    Raises CniError PLUGIN_NOT_AVAILABLE.
    """
    try:
        notes = _require_usable_lock(config)
        with Store(config.state_dir, STORE_SECONDS) as store:
            # What came of it is to be recorded within the deadline, too.
            verdict = _verdict(store, config, Deadline(deadline.at - STORE_SECONDS))
            notes += _notes(store, config)
    except CniError as error:
        raise CniError(Code.PLUGIN_NOT_AVAILABLE, error.message, error.details) from error
    if verdict.problem is not None:
        raise verdict.problem
    return [*notes, *verdict.notes]


def _notes(store: Store, config: IpamConfig) -> list[str]:
    """What is known of the cloud, and no error, but what an operator should change."""
    notes, look = [], last_look(store, config)
    unlisted = store.fact(unlisted_fact(config))
    if unlisted:
        notes.append(
            "floating IPs can't be looked up, so one may lead to the next pod with its address: "
            f"{unlisted}; see Calls of Neutron and Nova for the access rule or policy"
        )
    if look is not None and look.capacity is not None and look.capacity.dhcp:
        from neutron_cni.ipam import node  # Seldom needed.

        if not node.has_static_address(config.host_interface):
            notes += dangers(look.capacity)
    return notes


def last_look(store: Store, config: IpamConfig) -> Look | None:
    """What the cloud was last seen to answer for this network; None where it was never asked."""
    return decode(store.fact(_key(config)))


def look_again(store: Store, config: IpamConfig, deadline: Deadline) -> Look | None:
    """A new look at the cloud, which is recorded; the last one while another process looks."""
    with _asking(config) as lock:
        return _look(store, config, deadline) if lock.try_acquire() else last_look(store, config)


def _verdict(store: Store, config: IpamConfig, deadline: Deadline) -> Verdict:
    """The answer, after a look at the cloud where one is due."""
    with _asking(config) as lock:
        while True:
            look = last_look(store, config)
            verdict = judge(look, _situation(store, config))
            if not verdict.ask:
                return verdict
            if lock.try_acquire():
                # Whoever had it may have looked since we read.
                if last_look(store, config) == look:
                    look = _look(store, config, deadline)
                else:
                    look = last_look(store, config)
                return judge(look, _situation(store, config))
            if look is not None:
                holder = lock.holder()
                pid = holder.pid if holder is not None else 0
                return while_another_asks(look, _situation(store, config), pid)
            deadline.require("another process asks the cloud for the first time")
            time.sleep(0.1)


def _look(store: Store, config: IpamConfig, deadline: Deadline) -> Look:
    """Ask the cloud, and record what came of it.

    Raises CniError STORE where that can't be recorded (a full disk): an ADD could not write,
    either, and since when a cloud is away would never be known.
    """
    now = _moment(store)
    began = Look(
        boot=now.boot,
        asked=now.seconds,
        clock=time.time(),
        jitter=random(),
        files=_state_of_files(config),
    )
    look = seen(began, last_look(store, config), _asked(store, config, deadline))
    store.remember(_key(config), encode(look))
    if not look.code and store.fact(_worked(config)) is None:
        store.remember(_worked(config), "yes")
        store.forget_old("status|", KEPT_SECONDS)
    return look


def _asked(store: Store, config: IpamConfig, deadline: Deadline) -> Capacity | CniError:
    """What the cloud has left for pods, or the error that an ADD would meet."""
    anchor = _anchor(config)
    try:
        with connected(store, [config], anchor, deadline.at_most(LOOK_SECONDS)) as context:
            return MODES[config.mode].page.capacity(context)
    except CniError as error:
        return error
    except Exception as error:  # a defect of ours is no reason to evict pods, either
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_name}, line {frame.tb_lineno}" if frame else "?"
        what = f"unexpected {type(error).__name__} in {where} while the cloud was asked"
        return CniError(Code.UNEXPECTED, what, "a defect of neutron-cni")


def _situation(store: Store, config: IpamConfig) -> Situation:
    return Situation(
        now=_moment(store),
        patience=config.status_patience,
        capacity_counts=config.capacity_in_status,
        has_worked=store.fact(_worked(config)) is not None or store.has_given_addresses(),
        files=_state_of_files(config),
    )


def _moment(store: Store) -> Moment:
    return Moment(store.fact("boot") or "", time.clock_gettime(time.CLOCK_BOOTTIME))


def _state_of_files(config: IpamConfig) -> str:
    """What changes when clouds.yaml does. One at another place is seen to with the next look."""
    named = (config.clouds_file, os.environ.get("OS_CLIENT_CONFIG_FILE"), *_CLOUDS)
    return " ".join(_state_of(path) for path in named if path)


def _state_of(path: str) -> str:
    try:
        found = Path(path).stat()
    except OSError:
        return "-"
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _anchor(config: IpamConfig) -> str:
    return MODES[config.mode].anchor(config, "status")


def _asking(config: IpamConfig) -> FileLock:
    """The lock of whoever asks the cloud for STATUS; of one for each anchor."""
    return FileLock(config.state_dir, f"status|{_anchor(config)}")


def _key(config: IpamConfig) -> str:
    """The key of the fact: all options that decide what is asked."""
    of_no_matter = {
        "timeout": 60.0,
        "quarantine": 0.0,
        "status_patience": 0.0,
        "capacity_in_status": False,
        "wait_for_network": "off",
    }
    text = msgspec.json.encode(msgspec.structs.replace(config, **of_no_matter))
    return f"status|{sha256(text).hexdigest()[:16]}"


def _worked(config: IpamConfig) -> str:
    return f"worked|{config.cloud or ''}|{config.clouds_file or ''}"


def _require_usable_lock(config: IpamConfig) -> list[str]:
    """Raise CniError if a process has held the anchor's lock for longer than any call takes.

    A note as long as there is patience with it.
    """
    longest = max(LONGEST_HOLD, config.timeout)
    with anchor_lock(config.state_dir, _anchor(config)) as lock:
        holder: Holder | None = None
        for _ in range(2):
            if lock.try_acquire():
                return []
            last, holder = holder, lock.holder()
            if holder is None or not _held_for(holder) >= longest:  # not a number: not known
                return []
            # Who has just taken it may not have written its name over that of the one before.
            time.sleep(0.2)
    if holder is None or holder != last:
        return []
    held, pid = _held_for(holder), holder.pid
    error = CniError(
        Code.TRY_AGAIN,
        f"process {pid} has held the lock {lock.path} for {held:.0f} s, and every ADD waits for it",
        f"see what it waits for (/proc/{pid}/stack), then end it: the lock goes with it",
    )
    if held < max(longest, config.status_patience):
        return [str(error)]
    raise error


def _held_for(holder: Holder) -> float:
    """Seconds since the lock was taken; 0 by a process of before the boot, which has none any more:
    somebody else has the lock, and did not write its name yet."""
    if not holder.boot:
        return time.time() - holder.since
    if holder.boot != boot_id():
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - holder.since

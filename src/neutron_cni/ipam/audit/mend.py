"""`neutron-cni gc --apply`: the same calls as the plugins make, for everything that was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.audit.compare import Linked, doubtful, unused
from neutron_cni.ipam.audit.configured import configured
from neutron_cni.ipam.audit.survey import Action, Group, Work, groups
from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.modes.contract import Finding
from neutron_cni.ipam.pools import note_pool
from neutron_cni.ipam.settling import connected, settle_anchor
from neutron_cni.netlink.undo import remove_stale_entries
from neutron_cni.store import Record, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig

LOCK_SECONDS = 30.0
"""How long an anchor's lock is waited for."""


def mend(store: Store, conf_dir: Path, work: Work, linked: Linked) -> list[str]:
    """Release what is idle, take over what was lost, put back what is missing.

    What has to rest, or waits for Neutron, is left to the sweeper. Returns what could not be done,
    in sentences: one cloud that is down does not stop the others. Raises CniError (store, kernel).
    """
    here = configured(conf_dir)
    for network, config in here.networks.items():
        note_pool(store, network, config)
    doomed = {item.record_id for action, item in work.steps if action is Action.RELEASE}
    _release(store, doomed, linked)
    problems = []
    # To settle is also to take over what the store does not know, and to let it rest and go.
    settled = {} if any(not item.record_id for item in work.kept) else groups(store, here)
    for group, configs in settled.items():
        try:
            _settle(store, group, configs)
        except CniError as error:
            problems.append(str(error))
    lacking = {item.record_id for action, item in work.steps if action is Action.PUT_BACK}
    for anchor in {r.anchor for r in store.all() if r.id in lacking and _has_its_own_anchor(r)}:
        try:
            with _locked(store, anchor) as deadline:
                settle_anchor(store, anchor, deadline)
        except CniError as error:
            problems.append(str(error))
    sweeper.start_sweeper(str(store.path.parent))
    remove_stale_entries()
    return problems


def free(store: Store, finding: Finding, detach: Callable[[str], None]) -> str:
    """Release a doubtful lease that an operator named. Returns what is in the way, in a sentence.

    `detach` removes the link of the attachment with that token: until no namespace has the address
    it must not go to another pod. Raises CniError (store, kernel).
    """
    record = store.get(finding.record_id)
    doubts = {item.record_id for item in doubtful(store.all(), node.occupied())}
    if record is None or record.id not in doubts:
        return f"{finding.address} is not doubtful any more, and stays"
    detach(record.token)
    for item in record.addresses:
        if path := node.namespace_with(item.address):
            return (
                f"{item.address} is still in the namespace {path}, and the plugin that put it there"
                " is not ours: remove the namespace, and gc --apply releases the address"
            )
    store.release(record.id, record.config.rest)
    return ""


def _release(store: Store, record_ids: set[int], linked: Linked) -> None:
    """Those that are idle still: Neutron was asked meanwhile, and a container may have come."""
    records = [record for record in store.all() if record.id in record_ids]
    idle = {item.record_id for item in unused(records, node.namespace_with, linked)}
    for record in records:
        if record.id in idle:
            store.release(record.id, record.config.rest)


def _settle(store: Store, group: Group, configs: list[IpamConfig]) -> None:
    anchor, mode = group
    page = MODES[mode].page
    with _locked(store, anchor):
        deadline = Deadline.after(configs[-1].timeout)
        with connected(store, configs, anchor, deadline) as context:
            page.recover_lost(context)
            page.settle(context)


def _has_its_own_anchor(record: Record) -> bool:
    """Whether the anchor is of this attachment alone, so that no group's `settle` reaches it."""
    return record.anchor != MODES[record.config.mode].anchor(record.config, "all")


@contextmanager
def _locked(store: Store, anchor: str) -> Iterator[Deadline]:
    """The anchor's lock, with a deadline for what is done under it."""
    deadline = Deadline.after(LOCK_SECONDS)
    with anchor_lock(str(store.path.parent), anchor) as lock:
        while not lock.try_acquire():
            deadline.require(f"waiting for the lock of {anchor}")
            time.sleep(0.05)
        yield Deadline.after(LOCK_SECONDS)

"""Ports that the VM had before: our addresses and address pairs are taken off them.

A VM that is made anew with its disks, or gets another NIC, has another port. The old one may live
on (if a user made it, Nova leaves it), with the pods' addresses on it, and Neutron lets nobody
else have them. Which port has an address is in the store; which has a pair, in a tag.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from neutron_cni.ipam.modes import reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.fixed_ips_recording import Progress, live_addresses, removable, tags_of
from neutron_cni.openstack.errors import (
    AnswerLost,
    Forbidden,
    NotFound,
    ObjectInUse,
    Refused,
    StaleRevision,
)
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record, State
from neutron_cni.store.store import LATE_ANSWER_SECONDS
from neutron_cni.values.address import IPAddress

_TRIES = 10


def empty_previous_ports(context: Context, port: Port, progress: Progress) -> None:
    """Take what is ours off every port that is the VM's no more; its pods' go to `port` then.

    A port that the VM still has as another NIC keeps what live pods use: the default route may
    have changed for a moment only.
    """
    for port_id in _ports(context.records()) - {port.id}:
        former = _read(context, port_id)
        if former is None:
            continue
        # An update that was under way may still reach it: watched, as a released lease.
        interrupted = [r.id for r in _of(context, port_id) if r.state is State.INTENDED]
        context.store.return_to_wanted_and_watch(interrupted, time.time() + LATE_ANSWER_SECONDS)
        records = _of(context, port_id)
        still_here = former.device_id and former.device_id == port.device_id
        leaving = [r for r in records if not (still_here and r.state is State.HELD)]
        kept = _take_off(context, former, leaving)
        progress.elsewhere |= kept
        progress.lost |= {
            item.address
            for record in records
            if record.state is State.HELD and (still_here or record.id in kept)
            for item in record.addresses
        }


def release_on_previous_ports(context: Context) -> None:
    """For a VM whose port can't be found: released leases are given back, and then forgotten."""
    context.store.end_quarantine(context.quarantines_over())
    for port_id in _ports(context.records()):
        released = [r for r in _of(context, port_id) if r.state is State.RELEASED]
        former = _read(context, port_id)
        kept = set() if former is None else _take_off(context, former, released)
        now = time.time()
        context.store.forget([r.id for r in released if r.id not in kept and r.until <= now])


def remove_pairs_elsewhere(context: Context, reserved: Port, port: Port | None) -> None:
    """The pair goes from a port that the VM had when the lease was made, if that lives on.

    `port`: the one that it has now, None where it can't be found.
    """
    for parent in reserving_port.parents(reserved):
        if port is not None and parent == port.id:
            continue
        with suppress(NotFound, Forbidden):
            former = context.neutron.port(parent)
            pairs = [p for p in former.address_pairs if p.single not in reserved.addresses]
            if len(pairs) < len(former.address_pairs):
                context.neutron.set_address_pairs(former, pairs)


def move_pair(context: Context, reserved: Port, port: Port) -> None:
    """A live pod's pair comes to the VM's port: that is written down before, and undone where it
    was."""
    parents = reserving_port.parents(reserved)
    if parents == [port.id] or not any(is_or_was_vm_port(context, item, port) for item in parents):
        return
    context.neutron.add_tags(reserved.id, [f"ncni-parent={port.id}"])
    with suppress(ObjectInUse, Refused, StaleRevision, AnswerLost):  # then at the next call
        remove_pairs_elsewhere(context, reserved, port)
        for parent in parents:
            if parent != port.id:
                context.neutron.remove_tag(reserved.id, f"ncni-parent={parent}")


def is_or_was_vm_port(context: Context, parent: str, port: Port) -> bool:
    """Whether this is the VM's port, or one that it had before and no other NIC of it has now."""
    if parent == port.id:
        return True
    try:
        before = context.neutron.port(parent)
    except NotFound:
        return True
    return before.device_id == "" or before.device_id != port.device_id


def _ports(records: Iterable[Record]) -> set[str]:
    return {item.port_id for record in records for item in record.addresses} - {""}


def _of(context: Context, port_id: str) -> list[Record]:
    return [
        record
        for record in context.records()
        if any(item.port_id == port_id for item in record.addresses)
    ]


def _read(context: Context, port_id: str) -> Port | None:
    try:
        return context.neutron.port(port_id)
    except NotFound:
        return None


def _take_off(context: Context, former: Port, records: list[Record]) -> set[int]:
    """Addresses, then claims, of the released and the live; the leases that it still carries."""
    records = [r for r in records if r.state in (State.RELEASED, State.HELD)]
    for _ in range(_TRIES):
        leaving = _ours(context, former, records)
        if not leaving:
            break
        left = [item for item in former.fixed_ips if item.address not in leaving]
        try:
            former = context.neutron.set_fixed_ips(former, left)
        except (StaleRevision, AnswerLost):
            former = context.neutron.port(former.id)
        except (ObjectInUse, Refused, Forbidden, NotFound):
            # A floating IP points there, or the port is not ours to change: later, then.
            break
    there = _ours(context, former, records)
    kept = {r.id for r in records if any(item.address in there for item in r.addresses)}
    gone = [record for record in records if record.id not in kept]
    for tag in {tag for record in gone for tag in tags_of(record, context)} & former.tags:
        context.neutron.remove_tag(former.id, tag)
    return kept


def _ours(context: Context, former: Port, records: list[Record]) -> set[IPAddress]:
    """What these leases have on that port by our doing."""
    moving = {
        (item.subnet_id, item.address)
        for record in records
        if record.state is State.HELD
        for item in record.addresses
    }
    live = live_addresses(context) - moving
    return set().union(*(removable(record, context, former, live) for record in records))

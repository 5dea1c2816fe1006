"""Ports that the VM had before: our addresses and address pairs are taken off them.

A VM that is made anew with its disks, or gets another NIC, has another port. The old one may live
on (if a user made it, Nova leaves it), with the pods' addresses on it, and Neutron lets nobody
else have them. The store says which port has an address, and a tag of the reserving port which
port has its pair.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from neutron_cni.ipam import absence
from neutron_cni.ipam.claim import claims_in
from neutron_cni.ipam.modes import claim_tags, reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.fixed_ips_recording import (
    Progress,
    claims_for,
    live_addresses,
    removable,
)
from neutron_cni.ipam.modes.floating import pointed_at
from neutron_cni.openstack.errors import (
    AnswerLost,
    Forbidden,
    NotFound,
    ObjectInUse,
    Refused,
    StaleRevision,
    TagLimit,
)
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record, State
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.address import IPAddress

MAX_TRIES = 10


def empty_previous_ports(context: Context, port: Port, progress: Progress) -> None:
    """Take pods' addresses off the ports that the VM had before; those of live pods go to `port`.

    `port` is the one that it has now. Here they are only taken off; `settle` then adds them.

    A port that the VM still has as another NIC keeps what live pods use: the default route may
    have changed for a moment only.
    """
    for port_id in _port_ids(context.records()) - {port.id}:
        previous, gone = absence.look(context.store, context.neutron, port_id)
        if previous is None:
            if not gone:
                progress.elsewhere |= {record.id for record in _leases_on(context, port_id)}
            continue
        # An update that a dead process sent may still arrive at the old port: its addresses are
        # watched there, in a released lease, which keeps its claims on that port until then.
        interrupted = [r.id for r in _leases_on(context, port_id) if r.state is State.INTENDED]
        context.store.return_to_wanted_and_watch(interrupted, time.time() + LATE_ANSWER_SECONDS)
        records = _leases_on(context, port_id)
        still_here = previous.device_id and previous.device_id == port.device_id
        leaving = [r for r in records if not (still_here and r.state is State.HELD)]
        kept = _take_off(context, previous, leaving)
        progress.elsewhere |= kept
        progress.lost |= {
            item.address
            for record in records
            if record.state is State.HELD and (still_here or record.id in kept)
            for item in record.addresses
        }


def release_on_previous_ports(context: Context) -> None:
    """Take released leases' addresses off the ports that the store names, and forget the leases.

    For a VM whose present port can't be found, so that `settle` can do no more.
    """
    context.store.end_quarantine(context.over_quarantine())
    for port_id in _port_ids(context.records()):
        released = [r for r in _leases_on(context, port_id) if r.state is State.RELEASED]
        previous, gone = absence.look(context.store, context.neutron, port_id)
        if previous is not None:
            kept = _take_off(context, previous, released)
        else:
            kept = set() if gone else {record.id for record in released}
        absent = [record.id for record in released if record.id not in kept]
        context.store.forget(context.store.note_absent(absent))


def other_parents(reserving: Port, port: Port | None) -> list[str]:
    """Ports (ids) that the reserving port's pairs are or were on, but for the VM's present one.

    `port`: the one that it has now, None where it can't be found.
    """
    now = "" if port is None else port.id
    return [parent for parent in reserving_port.parents(reserving) if parent != now]


def remove_pairs_elsewhere(context: Context, reserving: Port, port: Port | None) -> bool:
    """Remove a reserving port's pairs from ports that the VM had before, where these still exist.

    `port`: the one that it has now, None where it can't be found. False where such a port, or the
    pairs on it, were not to be seen for the first time: whether they are gone, the next look tells.
    """
    certain = True
    for parent in other_parents(reserving, port):
        with suppress(Forbidden):
            previous, gone = absence.look(context.store, context.neutron, parent)
            if previous is not None:
                pairs = [p for p in previous.address_pairs if p.single not in reserving.addresses]
                what = _pairs_on(reserving, parent)
                if len(pairs) < len(previous.address_pairs):
                    context.neutron.set_address_pairs(previous, pairs)
                    # The answer is a first look; what was seen before counts no more.
                    absence.certain(context.store, what, absent=False)
                gone = absence.certain(context.store, what, absent=True)
            certain = certain and gone
    if certain:
        for parent in other_parents(reserving, port):
            context.store.remember(f"absent|{_pairs_on(reserving, parent)}", None)
    return certain


def _pairs_on(reserving: Port, parent: str) -> str:
    return f"pairs of {reserving.id} on {parent}"


def move_pair(context: Context, reserving: Port, port: Port) -> None:
    """Prepare that a live pod's pair is on the VM's present port, and on none that it had before.

    The new parent is written in a tag first; `settle` then adds the pair.
    """
    parents = reserving_port.parents(reserving)
    if parents == [port.id] or not any(is_or_was_vm_port(context, item, port) for item in parents):
        return
    context.neutron.add_tags(reserving.id, [f"ncni-parent={port.id}"])
    with suppress(ObjectInUse, Refused, StaleRevision, AnswerLost):  # then at the next call
        if remove_pairs_elsewhere(context, reserving, port):
            for parent in other_parents(reserving, port):
                context.neutron.remove_tag(reserving.id, f"ncni-parent={parent}")


def is_or_was_vm_port(context: Context, parent: str, port: Port) -> bool:
    """Whether this is the VM's port, or one that it had before and no other NIC of it has now."""
    if parent == port.id:
        return True
    before, gone = absence.look(context.store, context.neutron, parent)
    if before is None:
        return gone
    return before.device_id == "" or before.device_id != port.device_id


def _port_ids(records: Iterable[Record]) -> set[str]:
    return {item.port_id for record in records for item in record.addresses} - {""}


def _leases_on(context: Context, port_id: str) -> list[Record]:
    return [
        record
        for record in context.records()
        if any(item.port_id == port_id for item in record.addresses)
    ]


def _take_off(context: Context, previous: Port, records: list[Record]) -> set[int]:
    """Take the addresses of released and held leases off a port, and the claims of those that go.

    Returns the rows of the leases that must not be forgotten now: the port still has their
    addresses, or may get them by an update that comes late. Without its claim nobody would know
    that such an address is ours, so the claim goes when the row may go.
    """
    now = time.time()
    records = [r for r in records if r.state in (State.RELEASED, State.HELD)]
    put_on = _addresses_put_on(context, previous, records)
    found = {r.id for r in records if any(item.address in put_on for item in r.addresses)}
    context.store.note_present(r.id for r in records if r.absent and r.id in found)
    pointed = pointed_at(context, previous, _addresses_put_on(context, previous, records))
    for _ in range(MAX_TRIES):
        leaving = _addresses_put_on(context, previous, records) - pointed
        if not leaving:
            break
        left = [item for item in previous.fixed_ips if item.address not in leaving]
        try:
            previous = context.neutron.set_fixed_ips(previous, left)
        except (StaleRevision, AnswerLost):
            previous = context.neutron.port(previous.id)
        except (ObjectInUse, Refused, Forbidden, NotFound) as error:
            # We may not change the port, or a floating IP points there by now: tried again later.
            context.note_blocked(leaving, str(error))
            break
    there = _addresses_put_on(context, previous, records)
    released = [record for record in records if record.state is State.RELEASED]
    watched = {record.id for record in released if record.until > now}
    kept = {r.id for r in records if any(item.address in there for item in r.addresses)} | watched
    first_look = {r.id for r in released if not r.absent or r.id in found}
    gone = [record for record in records if record.id not in kept | first_look]
    claims = set().union(*(claims_for(record, context) for record in gone))
    try:
        claim_tags.withdraw(context, previous, claims)
    except TagLimit:
        claimed = claims_in(context.neutron.port(previous.id).tags)
        return kept | {record.id for record in gone if claims_for(record, context) & claimed}
    return kept


def _addresses_put_on(context: Context, previous: Port, records: list[Record]) -> set[IPAddress]:
    """The addresses of these leases that are on that port because we put them there."""
    moving = {
        (item.subnet_id, item.address)
        for record in records
        if record.state is State.HELD
        for item in record.addresses
    }
    live = live_addresses(context) - moving
    return set().union(*(removable(record, context, previous, live) for record in records))

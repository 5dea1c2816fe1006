"""Taking stock in mode `fixed-ips`: what the VM's port shows is written into the store.

Whose is an address on the port? A lease that was held once had it confirmed. Before that our
claim says so: it is written before the update, so an address that was there earlier has none. But
two installations may have claimed the same address; as long as both claims are there, neither
takes it for its own (one of them is about to withdraw, see claim.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from neutron_cni.ipam.claim import Claim, claims_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.recovery import recovered_fixed_ips, watched_claims
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.types import Port
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.values.address import IPAddress


@dataclass(slots=True)
class Progress:
    """What one `settle` has learnt so far."""

    made: set[int] = field(default_factory=set)
    """Leases whose addresses Neutron said that it had added."""
    uncertain: set[int] = field(default_factory=set)
    """Leases whose addresses may have been added: the answer was lost, or the process died."""
    used: set[IPAddress] | None = None
    """Addresses that others have on the network; None: not asked since the last surprise."""
    refused: set[IPAddress] = field(default_factory=set)
    """Addresses that belong to a port which this project can't see."""
    blocked: set[IPAddress] = field(default_factory=set)
    """Addresses that Neutron won't take off now (a floating IP points at them)."""
    lost: set[IPAddress] = field(default_factory=set)
    """Addresses of live pods that went from the port and can't be had back."""
    elsewhere: set[int] = field(default_factory=set)
    """Released leases that a port which the VM had before still carries."""
    limit: int | None = None
    """A whole update was refused for one of its parts: so many parts at most in the next."""
    races: int = 0
    unanswered: int = 0


def begin(context: Context, port: Port) -> Progress:
    """What a predecessor may have done: an update follows the claim, so without one there was
    none."""
    return Progress(
        uncertain={
            record.id
            for record in context.records()
            if record.state is State.INTENDED
            and record.addresses
            and all(tag in port.tags for tag in tags_of(record, context))
        }
    )


def record_vm_port(context: Context, port: Port, network: PodNetwork, progress: Progress) -> Port:
    """Record what the port shows: ours but unknown, confirmed, and gone. The port as it then is."""
    port = _adopt(context, port, network)
    port = _reclaim(context, port, progress)
    records = context.records()
    _note_arrivals(context, port, records)
    certain = progress.made | progress.uncertain
    confirmed = {
        record.id: (record.addresses, network.lease(record.addresses, port.id, announce=False))
        for record in records
        if record.state is State.INTENDED
        and record.id in certain
        and _is_there(record, context, port)
    }
    if confirmed:
        context.store.hold(confirmed)
    live = live_addresses(context)
    gone = [
        record
        for record in records
        if record.state is State.RELEASED
        and record.id not in progress.elsewhere
        and record.until <= time.time()
        and not removable(record, context, port, live)
    ]
    return _forget(context, port, gone) if gone else port


def tags_of(record: Record, context: Context) -> list[str]:
    """The claims of a lease, as tags."""
    return [Claim(item.address, context.install, record.token).tag for item in record.addresses]


def contested(record: Record, context: Context, port: Port) -> bool:
    """Whether somebody else claims one of the lease's addresses too."""
    ours = {Claim(item.address, context.install, record.token) for item in record.addresses}
    mine = {item.address for item in record.addresses}
    return any(claim.address in mine and claim not in ours for claim in claims_in(port.tags))


def live_addresses(context: Context) -> set[tuple[str, IPAddress]]:
    """Subnet and address of every lease that is, or may soon be, used: of all queues."""
    return {
        (entry.subnet_id, entry.address)
        for entry in context.store.entries()
        if entry.state in (State.INTENDED, State.HELD)
    }


def removable(
    record: Record, context: Context, port: Port, live: set[tuple[str, IPAddress]]
) -> set[IPAddress]:
    """What of a released lease is on the port by our doing, so that we may take it off."""
    was_held = record.lease is not None
    if not was_held and contested(record, context, port):
        return set()
    return {
        item.address
        for item in record.addresses
        if item.address in port.addresses
        and (item.subnet_id, item.address) not in live
        and (
            (was_held and item.port_id == port.id)
            or Claim(item.address, context.install, record.token).tag in port.tags
        )
    }


def is_vms_own(item: PortAddress, token: str, install: str, port: Port) -> bool:
    """Whether the port has a lease's address, but not by our doing: as its own, for example."""
    claimed = Claim(item.address, install, token).tag in port.tags
    return item.address in port.addresses and item.port_id != port.id and not claimed


def _reclaim(context: Context, port: Port, progress: Progress) -> Port:
    """Claims that are missing, written again: who rewrites a port's tags may lose them.

    And those of live pods whose address is not on the port, before it is put there. Not of what
    the port has as its own: a VM that is made anew may get an address that was a pod's.
    """
    wanted = {
        Claim(item.address, context.install, record.token).tag
        for record in context.records()
        if record.state in (State.HELD, State.COOLING) and not contested(record, context, port)
        for item in record.addresses
        if (
            item.port_id == port.id
            if item.address in port.addresses
            else record.state is State.HELD and item.address not in progress.lost
        )
    }
    missing = sorted(wanted - port.tags)
    if not missing:
        return port
    context.neutron.add_tags(port.id, missing)
    return context.neutron.port(port.id)


def _note_arrivals(context: Context, port: Port, records: list[Record]) -> None:
    """Live pods' addresses that came to this port from one that the VM had before."""
    for record in records:
        if record.state is not State.HELD or not _is_there(record, context, port):
            continue
        moved = any(item.port_id != port.id for item in record.addresses)
        ours = removable(record, context, port, live=set())
        if moved and ours == {item.address for item in record.addresses}:
            context.store.relocate(record.id, port.id)


def _is_there(record: Record, context: Context, port: Port) -> bool:
    return (
        bool(record.addresses)
        and all(item.address in port.addresses for item in record.addresses)
        and not contested(record, context, port)
    )


def _adopt(context: Context, port: Port, network: PodNetwork) -> Port:
    """Take over what carries our claim and has no row: the store was lost."""
    if not _unknown(context, port):
        return port
    # Another queue may have removed claim and row since the port was read; then it is not lost.
    port = context.neutron.port(port.id)
    for token, claims in _unknown(context, port).items():
        there = [claim for claim in claims if claim.address in port.addresses]
        coming = [claim for claim in claims if claim.address not in port.addresses]
        if there:
            context.store.add_recovered(recovered_fixed_ips(context, token, there, port, network))
        if coming:
            context.store.add_recovered(watched_claims(context, token, coming, port, network))
    return port


def _unknown(context: Context, port: Port) -> dict[str, list[Claim]]:
    ours = [claim for claim in claims_in(port.tags) if claim.install == context.install]
    if not ours:
        return {}
    # Of all queues. A row is written before its claim, and goes after it.
    known = {(entry.token, entry.address) for entry in context.store.entries()}
    found: dict[str, list[Claim]] = {}
    for claim in sorted(ours, key=lambda item: item.tag):
        if (claim.token, claim.address) not in known:
            found.setdefault(claim.token, []).append(claim)
    return found


def _forget(context: Context, port: Port, gone: list[Record]) -> Port:
    """First the claims go, then the rows: what is interrupted here is begun again."""
    ids = {record.id for record in gone}
    needed = {
        Claim(entry.address, context.install, entry.token).tag
        for entry in context.store.entries()
        if entry.record_id not in ids
    }
    tags = {tag for record in gone for tag in tags_of(record, context)}
    leftover = sorted((tags & port.tags) - needed)
    for tag in leftover:
        context.neutron.remove_tag(port.id, tag)
    context.store.forget(ids)
    return context.neutron.port(port.id) if leftover else port

"""Mode `fixed-ips`: what the VM's port shows is written into the store.

Whose is an address on the port? A lease that was held once had it confirmed. Before that our
claim says so: it is written before the update, so an address that was there earlier has none. But
two installations may have claimed the same address; as long as both claims are there, neither
takes it for its own (one of them is about to withdraw, see claim.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.ipam.claim import Claim, claims_in
from neutron_cni.ipam.modes import claim_tags
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.recovery import recovered_fixed_ips, watched_claims
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.errors import TagLimit
from neutron_cni.openstack.types import Port
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.values.address import IPAddress


@dataclass(slots=True)
class Progress:
    """What one `settle` has learnt so far."""

    made: set[int] = field(default_factory=set)
    """Leases whose addresses are on the port by Neutron's own answer."""
    uncertain: set[int] = field(default_factory=set)
    """Leases whose addresses may have been added: the answer was lost, or the process died."""
    used: set[IPAddress] | None = None
    """Addresses that ports of the network have; None: not asked, or no longer true."""
    refused: set[IPAddress] = field(default_factory=set)
    """Addresses that belong to a port which this project can't see."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Subnets (ids) that Neutron refused to give this port an address of, and its words."""
    blocked: set[IPAddress] = field(default_factory=set)
    """Addresses that Neutron won't take off now (a floating IP points at them)."""
    lost: set[IPAddress] = field(default_factory=set)
    """Addresses of live pods that somebody took off the port and that can't be put back."""
    elsewhere: set[int] = field(default_factory=set)
    """Released leases whose addresses are on a port that the VM had before, or may come there."""
    limit: int | None = None
    """How many parts the next update may have, as Neutron refused a larger one; None: any."""
    races: int = 0
    """Updates that were lost to other writers of the port."""
    unanswered: int = 0
    """Updates whose answer was lost."""


def first_progress(context: Context, port: Port) -> Progress:
    """The progress that `settle` begins with: leases that a dead process may have served already.

    A process claims addresses before it updates the port: without its claims none was served.
    """
    return Progress(
        uncertain={
            record.id
            for record in context.records()
            if record.state is State.INTENDED
            and record.addresses
            and claims_for(record, context) <= claims_in(port.tags)
        }
    )


def record_vm_port(context: Context, port: Port, network: PodNetwork, progress: Progress) -> Port:
    """Write into the store what the VM's port shows; returns the port as it then is.

    Addresses with our claim and no lease get one again. Intended leases are held once the port has
    their addresses, and released ones are forgotten once it was seen twice that it has not.
    """
    port = _recover_lost(context, port, network)
    port = _write_missing_claims(context, port, progress)
    records = context.records()
    _note_moved(context, port, records)
    certain = progress.made | progress.uncertain
    confirmed = {
        record.id: (
            record.addresses,
            network.lease(record.config, record.addresses, port.id, nic_mac=port.mac),
        )
        for record in records
        if record.state is State.INTENDED
        and record.id in certain
        and _is_there(record, context, port)
    }
    if confirmed:
        context.store.hold(confirmed)
    gone = _seen_twice_without(context, port, records, progress)
    return _forget(context, port, gone) if gone else port


def _seen_twice_without(
    context: Context, port: Port, records: list[Record], progress: Progress
) -> list[Record]:
    """Released leases whose addresses are not on the port: now, by the list too, and before."""
    live = live_addresses(context)
    released = [
        record
        for record in records
        if record.state is State.RELEASED and record.id not in progress.elsewhere
    ]
    there = {record.id for record in released if removable(record, context, port, live)}
    context.store.note_present(r.id for r in released if r.absent and r.id in there)
    certain = context.store.note_absent(r.id for r in released if r.id not in there)
    if not certain:
        return []
    listed = context.neutron.by_list().port(port.id)
    return [r for r in released if r.id in certain and not removable(r, context, listed, live)]


def claims_for(record: Record, context: Context) -> set[Claim]:
    """The claims of a lease."""
    return {Claim(item.address, context.install, record.token) for item in record.addresses}


def contested(record: Record, context: Context, port: Port) -> bool:
    """Whether somebody else claims one of the lease's addresses too."""
    ours = claims_for(record, context)
    mine = {item.address for item in record.addresses}
    return any(claim.address in mine and claim not in ours for claim in claims_in(port.tags))


def live_addresses(context: Context) -> set[tuple[str, IPAddress]]:
    """(subnet id, address) of every lease, of all queues, that a pod uses or may soon use."""
    return {
        (entry.subnet_id, entry.address)
        for entry in context.store.entries()
        if entry.state in (State.INTENDED, State.HELD)
    }


def removable(
    record: Record, context: Context, port: Port, live: set[tuple[str, IPAddress]]
) -> set[IPAddress]:
    """A released lease's addresses that are on the port because we put them there: we may take them
    off.

    `live`: what `live_addresses` returned; another lease may have got the address since.
    """
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
            or Claim(item.address, context.install, record.token) in claims_in(port.tags)
        )
    }


def is_vms_own(item: PortAddress, token: str, install: str, port: Port) -> bool:
    """Whether the port has the address although we did not put it there: it is the VM's own."""
    claimed = Claim(item.address, install, token) in claims_in(port.tags)
    return item.address in port.addresses and item.port_id != port.id and not claimed


def _write_missing_claims(context: Context, port: Port, progress: Progress) -> Port:
    """Write claims again that the port's tags lack: whoever replaces all tags of a port loses them.

    Held leases whose address is not on the port get their claim before the address is put back. An
    address that the port has as its own gets none: a VM that is made anew may be given one that was
    a pod's.
    """
    wanted = {
        Claim(item.address, context.install, record.token)
        for record in context.records()
        if record.state in (State.HELD, State.COOLING) and not contested(record, context, port)
        for item in record.addresses
        if (
            item.port_id == port.id
            if item.address in port.addresses
            else record.state is State.HELD and item.address not in progress.lost
        )
    }
    try:
        written = claim_tags.write(context, port, wanted)
    except TagLimit:
        # The store knows whose they are, and no pod has to wait for what others put on the port.
        return port
    return context.neutron.port(port.id) if written else port


def _note_moved(context: Context, port: Port, records: list[Record]) -> None:
    """Have the store name this port for held leases that came to it from one that the VM had."""
    for record in records:
        if record.state is not State.HELD or not _is_there(record, context, port):
            continue
        moved = any(item.port_id != port.id for item in record.addresses)
        ours = removable(record, context, port, live=set())
        if moved and ours == {item.address for item in record.addresses}:
            context.store.relocate(record.id, port.id, port.mac)


def _is_there(record: Record, context: Context, port: Port) -> bool:
    return (
        bool(record.addresses)
        and all(item.address in port.addresses for item in record.addresses)
        and not contested(record, context, port)
    )


def _recover_lost(context: Context, port: Port, network: PodNetwork) -> Port:
    """Give leases to our claims that have none: the store was lost."""
    if not _claims_without_lease(context, port):
        return port
    # Another queue may have removed claim and row since the port was read; then it is not lost.
    port = context.neutron.port(port.id)
    for token, claims in _claims_without_lease(context, port).items():
        there = [claim for claim in claims if claim.address in port.addresses]
        coming = [claim for claim in claims if claim.address not in port.addresses]
        if there:
            context.store.add_recovered(recovered_fixed_ips(context, token, there, port, network))
        if coming:
            context.store.add_recovered(watched_claims(context, token, coming, port, network))
    return port


def _claims_without_lease(context: Context, port: Port) -> dict[str, list[Claim]]:
    ours = [claim for claim in claims_in(port.tags) if claim.install == context.install]
    if not ours:
        return {}
    # The leases of all queues: one is written before its claim, and forgotten after it.
    known = {(entry.token, entry.address) for entry in context.store.entries()}
    found: dict[str, list[Claim]] = {}
    for claim in sorted(ours, key=lambda item: item.tag):
        if (claim.token, claim.address) not in known:
            found.setdefault(claim.token, []).append(claim)
    return found


def _forget(context: Context, port: Port, gone: list[Record]) -> Port:
    """Remove the claims, then the leases; after a crash in between it is done again."""
    ids = {record.id for record in gone}
    needed = {
        Claim(entry.address, context.install, entry.token)
        for entry in context.store.entries()
        if entry.record_id not in ids
    }
    claims = set().union(*(claims_for(record, context) for record in gone))
    try:
        withdrawn = claim_tags.withdraw(context, port, claims - needed)
    except TagLimit:  # the claims that are left are tried again at the next call
        port, withdrawn = context.neutron.port(port.id), False
        left = claims_in(port.tags) - needed
        ids = {record.id for record in gone if not claims_for(record, context) & left}
    context.store.forget(ids)
    return context.neutron.port(port.id) if withdrawn else port

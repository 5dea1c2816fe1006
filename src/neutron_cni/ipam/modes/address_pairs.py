"""Mode `address-pairs`: an unbound port reserves the address, a pair on the VM's port lets it pass.

On ML2/OVN the unbound port becomes a virtual port with the VM's port as parent, provided that the
pair is the plain address; OVN learns which parent has it from a gratuitous ARP or unsolicited NA,
so the lease says `announce`. The port must stay unbound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from neutron_cni.ipam import locate
from neutron_cni.ipam.modes import pair_limit, previous_port, reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.fixed_ips_recording import live_addresses
from neutron_cni.ipam.modes.recovery import recovered_lease
from neutron_cni.ipam.modes.subnets import PodNetwork, read_pod_network
from neutron_cni.openstack.errors import (
    AnswerLost,
    ObjectInUse,
    PairLimit,
    StaleRevision,
)
from neutron_cni.openstack.types import AddressPair, Port
from neutron_cni.store import Record, State
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

MAX_ROUNDS = 40


@dataclass(slots=True)
class _Progress:
    """What one `settle` has learnt so far.

    `fitting`: addresses that may still join; None while the limit was not met. `crowded`: not
    even the held ones fit any more, as others filled the list. `blocked`: leases whose port
    Neutron won't delete now.
    """

    fitting: int | None = None
    crowded: bool = False
    blocked: set[int] = field(default_factory=set)


def settle(context: Context) -> None:
    """Make reserving ports, pairs and store agree. Raises CniError when Neutron can't be asked."""
    try:
        port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    except CniError as error:
        if error.code == Code.PORT_NOT_FOUND:
            context.store.end_quarantine(context.quarantines_over())
            _remove_reserves(context, None, _Progress())
        raise
    network = read_pod_network(context.neutron, port.network_id)
    _adopt(context, port, network)
    _recheck(context)
    progress = _Progress()
    for _ in range(MAX_ROUNDS):
        _confirm(context, port, network)
        _reserve(context, port, network, progress)
        pairs, joining = _wanted_pairs(context, port, progress)
        if pairs is None:
            _remove_reserves(context, port, progress)
            if not any(record.state is State.WANTED for record in context.records()):
                return
            continue
        port = _update(context, port, pairs, joining, progress)
    raise CniError(
        Code.TRY_AGAIN,
        f"port {port.id} kept changing under us for {MAX_ROUNDS} rounds",
        "which other tool edits this port's allowed_address_pairs?",
    )


def pair_addresses(port: Port) -> set[IPAddress]:
    """The single addresses among the port's pairs; CIDR pairs are an operator's."""
    return {pair.single for pair in port.address_pairs if pair.single is not None}


def why_not(port: Port) -> CniError | None:
    """Why this port can't have pairs at all, None when it can."""
    if port.port_security:
        return None
    return CniError(
        Code.INVALID_CONFIG,
        f"port security is off on port {port.id}, and Neutron gives such a port no address pairs",
        "use mode fixed-ips, which needs no port security, or switch it on for this port",
    )


def _own_pairs(port: Port) -> set[IPAddress]:
    """The addresses that are let through with the port's own MAC, as ours are.

    A pair with another MAC is somebody else's, such as a VRRP router's, also of the same address.
    """
    own = [pair for pair in port.address_pairs if pair.mac in ("", port.mac)]
    return pair_addresses(replace(port, address_pairs=tuple(own)))


def _recheck(context: Context) -> None:
    """Leases that a dead process left intended, whose port was deleted since: they have none.

    Without it Neutron could give the address to another port while our pod uses it.
    """
    for record in context.records():
        if record.state is State.INTENDED and record.addresses:
            found = reserving_port.find(context, record)
            context.store.intend(
                {record.id: () if found is None else reserving_port.addresses_of(found)}
            )


def _adopt(context: Context, port: Port, network: PodNetwork) -> None:
    found = reserving_port.marked_ports(context)
    # Read after Neutron: a row is written before its port, so a port without one is lost.
    known = {record.nonce for record in context.store.all()}
    for nonce, lost in found.items():
        if not reserving_port.is_lost(context, lost, known):
            continue
        if not any(
            previous_port.is_or_was_vm_port(context, item, port)
            for item in reserving_port.parents(lost)
        ):
            continue
        token = reserving_port.tag_value(lost, "token")
        config = reserving_port.config_of(context, lost)
        held = reserving_port.addresses_of(lost)
        record = recovered_lease(context, token, held, network, port.id, True, nonce, config)
        context.store.add_recovered(record)
    live = {record.nonce for record in context.records() if record.state is State.HELD}
    for nonce in found.keys() & live:
        previous_port.move_pair(context, found[nonce], port)


def _confirm(context: Context, port: Port, network: PodNetwork) -> None:
    """intended -> held for those whose every address is among the pairs."""
    present = _own_pairs(port)
    context.store.hold(
        {
            record.id: (record.addresses, network.lease(record.addresses, port.id, announce=True))
            for record in context.records()
            if record.state is State.INTENDED
            and record.addresses
            and {item.address for item in record.addresses} <= present
        }
    )


def _reserve(context: Context, port: Port, network: PodNetwork, progress: _Progress) -> None:
    """A reserving port for everybody who waits and has none, as far as the limit lets them in."""
    for record in context.records():
        if record.state not in (State.WANTED, State.INTENDED) or record.addresses:
            continue
        problem = why_not(port)
        if problem is None and progress.fitting is not None and progress.fitting <= 0:
            problem = pair_limit.refusal(context, port)
        if problem is not None:
            context.store.fail({record.id: problem})
            context.store.abandon({record.id: problem})
            continue
        interrupted = record.state is State.INTENDED
        if not context.store.intend({record.id: ()}):
            continue
        try:
            offered = network.offered(record.config, [i.subnet_id for i in port.fixed_ips])
            made = reserving_port.create_or_find(
                context, record, port.network_id, offered, parent=port.id
            )
        except CniError as error:
            if interrupted or isinstance(error, AnswerLost):
                raise
            context.store.return_to_wanted([record.id])
            context.store.fail({record.id: error})
            continue
        if made.addresses & pair_addresses(port):
            _refuse(context, record, [made.id], _paired_already(made, port, record))
            continue
        context.store.intend({record.id: reserving_port.addresses_of(made)})
        if progress.fitting is not None:
            progress.fitting -= len(made.fixed_ips)


def _paired_already(made: Port, port: Port, record: Record) -> CniError | None:
    """Neutron thought the address free, but a pair lets it through: somebody's virtual address.

    An error only where just this address was asked for; otherwise another is tried.
    """
    if not record.wish.requested:
        return None
    shared = ", ".join(sorted(map(str, made.addresses & pair_addresses(port))))
    return CniError(
        Code.CONFLICT,
        f"port {port.id} has an allowed address pair for {shared}, which is not ours",
        "ask for another address, or take the pair off",
    )


def _refuse(context: Context, record: Record, port_ids: list[str], error: CniError | None) -> None:
    """The lease's ports go; it waits for others, or fails. First it is written that it has none."""
    context.store.intend({record.id: ()})
    for port_id in port_ids:
        context.neutron.delete_port(port_id)
    context.store.return_to_wanted([record.id])
    if error is not None:
        context.store.fail({record.id: error})


def _wanted_pairs(
    context: Context, port: Port, progress: _Progress
) -> tuple[list[AddressPair] | None, list[Record]]:
    """The list as it should be (None: it is), and the leases that join with it."""
    context.store.end_quarantine(context.quarantines_over())
    records = context.records()
    leaving = _leaving(context, [r for r in records if r.state is State.RELEASED])
    joining = [r for r in records if r.state is State.INTENDED and r.addresses]
    held = [] if progress.crowded else [r for r in records if r.state is State.HELD]
    missing = _addresses(joining + held) - _own_pairs(port)
    pairs = [
        pair
        for pair in port.address_pairs
        if pair.mac not in ("", port.mac) or pair.single not in leaving
    ]
    pairs += [AddressPair(str(item)) for item in sorted(missing, key=str)]
    return (None if pairs == list(port.address_pairs) else pairs), joining


def _update(
    context: Context,
    port: Port,
    pairs: list[AddressPair],
    joining: list[Record],
    progress: _Progress,
) -> Port:
    try:
        changed = context.neutron.set_address_pairs(port, pairs)
        pair_limit.exceeded(context, len(pairs))
        return changed
    except (StaleRevision, AnswerLost):
        time.sleep(min(context.deadline.left, context.random.uniform(0.02, 0.2)))
    except PairLimit as error:
        _turn_away(context, port, pairs, joining, error, progress)
    return context.neutron.port(port.id)


def _turn_away(
    context: Context,
    port: Port,
    pairs: list[AddressPair],
    joining: list[Record],
    error: PairLimit,
    progress: _Progress,
) -> None:
    """Neutron refused the whole list: the latest comers go, their reserving ports too."""
    if error.limit is not None:
        pair_limit.learn(context, error.limit)
    newcomers = _addresses(joining) - _own_pairs(port)
    room = (error.limit or 0) - (len(pairs) - len(newcomers))
    progress.crowded = not joining
    for record in joining:
        room -= len(record.addresses)
        if room >= 0:
            continue
        ports = [item.port_id for item in record.addresses]
        _refuse(context, record, list(dict.fromkeys(ports)), pair_limit.refusal(context, port))
    progress.fitting = max(0, room)


def _remove_reserves(context: Context, port: Port | None, progress: _Progress) -> None:
    """The pairs are gone, so the reserving ports may go: nobody can use the address here."""
    present = set() if port is None else _own_pairs(port)
    for record in context.records():
        if record.state is not State.RELEASED or record.id in progress.blocked:
            continue
        if present & _leaving(context, [record]):
            continue
        reserved = reserving_port.find(context, record)
        if reserved is not None:
            try:
                previous_port.remove_pairs_elsewhere(context, reserved, port)
                context.neutron.delete_port(reserved.id)
            except (ObjectInUse, StaleRevision, AnswerLost):
                progress.blocked.add(record.id)
                continue
        # Until then a creation whose answer was lost may still come to pass.
        if record.until <= time.time():
            context.store.forget([record.id])


def _leaving(context: Context, records: list[Record]) -> set[IPAddress]:
    """What these leases had and no other has now: of all queues."""
    live = live_addresses(context)
    return {
        item.address
        for record in records
        for item in record.addresses
        if (item.subnet_id, item.address) not in live
    }


def _addresses(records: list[Record]) -> set[IPAddress]:
    return {item.address for record in records for item in record.addresses}

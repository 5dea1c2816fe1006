"""Mode `address-pairs`: an unbound port reserves the address, a pair on the VM's port lets it pass.

On ML2/OVN the unbound port becomes a virtual port with the VM's port as parent, provided that the
pair is the plain address; OVN learns which parent has it from the gratuitous ARP or unsolicited
NA that a pod is announced by. The port must stay unbound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from neutron_cni.ipam import locate
from neutron_cni.ipam.choose import Offer
from neutron_cni.ipam.modes import (
    marks,
    pair_limit,
    pair_recovery,
    previous_port,
    reservations,
    reserving_port,
)
from neutron_cni.ipam.modes.capacity import quota_of_ports, room_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.contract import Finding, Known, Seen, Strays
from neutron_cni.ipam.modes.fixed_ips_recording import live_addresses
from neutron_cni.ipam.modes.pair_list import judge_pairs, own_pairs, single_addresses, why_no_pairs
from neutron_cni.ipam.modes.reserving_port import PortWanted
from neutron_cni.ipam.modes.subnets import Holder, PodNetwork, read_pod_network
from neutron_cni.ipam.room import Capacity, Limit
from neutron_cni.openstack.errors import AnswerLost, ObjectInUse, PairLimit, StaleRevision
from neutron_cni.openstack.types import AddressPair, Port
from neutron_cni.store import Record, State
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

MAX_ROUNDS = 40
MAX_UNANSWERED = 5


@dataclass(slots=True)
class _Progress:
    """What one `settle` has learnt so far."""

    room: int | None = None
    """How many more addresses fit into the list of pairs; None while no limit was met."""
    crowded: bool = False
    """Not even the pairs of held leases fit any more, as others filled the list."""
    blocked: set[int] = field(default_factory=set)
    """Released leases whose port Neutron won't delete now."""
    unanswered: int = 0
    """Updates whose answer was lost."""


def settle(context: Context) -> None:
    """See `ModePage`. Makes reserving ports, pairs and store agree."""
    try:
        port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    except CniError as error:
        if error.code == Code.PORT_NOT_FOUND:
            context.store.end_quarantine(context.over_quarantine())
            _remove_reservations(context, None, _Progress())
        raise
    network = read_pod_network(context.neutron, port.network_id)
    pair_recovery.make_whole(context, port, network)
    reservations.read_interrupted(context, port.id)
    progress = _Progress()
    for _ in range(MAX_ROUNDS):
        _confirm(context, port, network)
        _reserve_for_all(context, port, network, progress)
        pairs, joining = _wanted_pairs(context, port, progress)
        if pairs is None:
            _remove_reservations(context, port, progress)
            if not any(record.state is State.WANTED for record in context.records()):
                return
            continue
        port = _update(context, port, pairs, joining, progress)
    raise CniError(
        Code.TRY_AGAIN,
        f"port {port.id} kept changing under us for {MAX_ROUNDS} rounds",
        "which other tool edits this port's allowed_address_pairs?",
    )


def recover_lost(context: Context) -> None:
    """See `ModePage`. `settle` does it each time."""


def look(context: Context, leases: Sequence[Record]) -> Seen:
    """See `ModePage`."""
    port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    return Seen(context.install, port, reservations.look(context, leases))


def judge(leases: Sequence[Record], seen: Seen) -> list[Finding]:
    """See `ModePage`. A pair must let the address through, and a port must reserve it."""
    assert seen.vm_port is not None
    return judge_pairs(leases, seen.vm_port) + reservations.judge(leases, seen)


def look_for_strays(context: Context) -> Strays:
    """See `ModePage`."""
    return reservations.look_for_strays(context, lambda port: bool(reserving_port.parents(port)))


def judge_strays(known: Known, strays: Strays) -> list[Finding]:
    """See `ModePage`."""
    return reservations.judge_strays(known, strays)


def remarks(strays: Strays) -> list[str]:
    """See `ModePage`. There is nothing to say."""
    return []


def capacity(context: Context) -> Capacity:
    """See `ModePage`."""
    port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    network = read_pod_network(context.neutron, port.network_id)
    problem = why_no_pairs(port)
    if problem is not None:
        raise problem
    room = room_in(context, network, _offer(context.config, port, network))
    limit = context.config.max_address_pairs or pair_limit.known(context)
    pairs = Limit(len(port.address_pairs), limit)
    return replace(room, ports=quota_of_ports(context), pairs=pairs)


def _confirm(context: Context, port: Port, network: PodNetwork) -> None:
    """Hold the intended leases whose every address is let through."""
    present = own_pairs(port)
    context.store.hold(
        {
            record.id: (
                record.addresses,
                network.lease(record.config, record.addresses, port.id, nic_mac=port.mac),
            )
            for record in context.records()
            if record.state is State.INTENDED
            and record.addresses
            and {item.address for item in record.addresses} <= present
        }
    )


def _reserve_for_all(
    context: Context, port: Port, network: PodNetwork, progress: _Progress
) -> None:
    """A reserving port for everybody who waits and has none, as far as the limit lets them in."""
    for record in context.records():
        if record.state not in (State.WANTED, State.INTENDED) or record.addresses:
            continue
        problem = why_no_pairs(port)
        if problem is None and progress.room is not None and progress.room <= 0:
            problem = pair_limit.refusal(context, port)
        if problem is not None:
            context.store.fail({record.id: problem})
            context.store.abandon({record.id: problem})
            continue
        _reserve(context, record, port, network, progress)


def _reserve(
    context: Context, record: Record, port: Port, network: PodNetwork, progress: _Progress
) -> None:
    def wanted() -> PortWanted:
        return PortWanted(network, _offer(record.config, port, network), parent=port.id)

    reserved = reservations.acquire(context, record, wanted)
    if reserved is None:
        return
    if reserved.port.addresses & single_addresses(port):
        error = _paired_already(reserved.port, port, record)
        reservations.refuse(context, record, [reserved.port.id], error)
        return
    context.store.intend({record.id: reserved.addresses})
    if progress.room is not None:
        progress.room -= len(reserved.addresses)


def _offer(config: IpamConfig, port: Port, network: PodNetwork) -> Offer:
    """The reserving port has no host, but its address has to be one of the VM's port's segment."""
    holder = Holder(marks.DEVICE_OWNER, network.segments_of(port.fixed_ips), named=False)
    return network.offered(config, [item.subnet_id for item in port.fixed_ips], holder)


def _paired_already(made: Port, port: Port, record: Record) -> CniError | None:
    """The address was free for Neutron, but a pair lets it through: somebody's virtual address.

    An error only where just this address was asked for; otherwise another is tried.
    """
    if not record.wish.requested:
        return None
    shared = ", ".join(sorted(map(str, made.addresses & single_addresses(port))))
    return CniError(
        Code.CONFLICT,
        f"port {port.id} has an allowed address pair for {shared}, which is not ours",
        "ask for another address, or take the pair off",
    )


def _wanted_pairs(
    context: Context, port: Port, progress: _Progress
) -> tuple[list[AddressPair] | None, list[Record]]:
    """The list of pairs as it should be (None: as it is), and the leases that join with it."""
    context.store.end_quarantine(context.over_quarantine())
    records = context.records()
    leaving = _leaving(context, [r for r in records if r.state is State.RELEASED])
    joining = [r for r in records if r.state is State.INTENDED and r.addresses]
    missing = _addresses(joining) - own_pairs(port)
    if not progress.crowded:
        held = [record for record in records if record.state is State.HELD]
        missing.update(*(finding.addresses for finding in judge_pairs(held, port)))
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
    except (StaleRevision, AnswerLost) as error:
        progress.unanswered += isinstance(error, AnswerLost)
        if progress.unanswered > MAX_UNANSWERED:
            raise
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
    """Neutron refused the list as too long: the latest requests fail, their reserving ports go."""
    if error.limit is not None:
        pair_limit.learn(context, error.limit)
    newcomers = _addresses(joining) - own_pairs(port)
    room = (error.limit or 0) - (len(pairs) - len(newcomers))
    progress.crowded = not joining
    for record in joining:
        room -= len(record.addresses)
        if room >= 0:
            continue
        ports = [item.port_id for item in record.addresses]
        reservations.refuse(context, record, ports, pair_limit.refusal(context, port))
    progress.room = max(0, room)


def _remove_reservations(context: Context, port: Port | None, progress: _Progress) -> None:
    """Delete the reserving ports of released leases whose pairs are gone: no pod can use them.

    `port`: the VM's, None where it can't be found.
    """
    present = set() if port is None else own_pairs(port)
    for record in context.records():
        if record.state is not State.RELEASED or record.id in progress.blocked:
            continue
        if present & _leaving(context, [record]):
            continue
        pairs_first = _pairs_go_first(context, record, port)
        later = (ObjectInUse, StaleRevision, AnswerLost)
        if not reservations.remove(context, record, pairs_first, later):
            progress.blocked.add(record.id)


def _pairs_go_first(context: Context, record: Record, port: Port | None) -> Callable[[Port], bool]:
    """What to do before a reserving port is deleted: remove its pairs from the VM's other ports.

    Only the reserving port's tags say which these are. So it stays as long as an update of one of
    them may still come; the lease alone watches the VM's present port.
    """

    def removed(reserving: Port) -> bool:
        certain = previous_port.remove_pairs_elsewhere(context, reserving, port)
        watched = record.until > time.time() and previous_port.other_parents(reserving, port)
        return certain and not watched

    return removed


def _leaving(context: Context, records: list[Record]) -> set[IPAddress]:
    """The addresses of these leases that no live lease, of any queue, has now."""
    live = live_addresses(context)
    return {
        item.address
        for record in records
        for item in record.addresses
        if (item.subnet_id, item.address) not in live
    }


def _addresses(records: list[Record]) -> set[IPAddress]:
    return {item.address for record in records for item in record.addresses}

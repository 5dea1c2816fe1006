"""Mode `fixed-ips`: what to change about the VM's port next, and the one update that does it.

Addresses are chosen and written down (`next_change`), claimed by tags, and then added (`make`);
what Neutron refuses is made smaller, or done without, or chosen anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from neutron_cni.ipam.anchors import blocked_fact
from neutron_cni.ipam.modes import claim_tags
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.fixed_ips_choice import picks_for
from neutron_cni.ipam.modes.fixed_ips_recording import (
    Progress,
    claims_for,
    contested,
    live_addresses,
    removable,
)
from neutron_cni.ipam.modes.floating import pointed_at
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.errors import (
    AddressTaken,
    AnswerLost,
    FixedIpLimit,
    NotFound,
    ObjectInUse,
    Refused,
    StaleRevision,
    TagLimit,
)
from neutron_cni.openstack.types import FixedIp, Port
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError

MAX_UNANSWERED = 5
"""Updates whose answer was lost, after which `settle` gives up."""
BLOCKED_SECONDS = 60.0
"""An address that could not leave is not tried again so soon in an update that serves an ADD."""


@dataclass(frozen=True, slots=True)
class Change:
    """One update of the port.

    `picks`: addresses for new leases, by row. `missing`: those of held leases that are put back.
    `leaving`: addresses that are taken off.
    """

    picks: dict[int, tuple[PortAddress, ...]]
    missing: dict[IPAddress, FixedIp]
    leaving: frozenset[IPAddress]

    @property
    def joining(self) -> dict[IPAddress, FixedIp]:
        """Every address that is added."""
        picked = (item for addresses in self.picks.values() for item in addresses)
        return {item.address: FixedIp(item.subnet_id, item.address) for item in picked} | (
            self.missing
        )

    @property
    def size(self) -> int:
        """How many parts it has: Neutron may refuse the whole update because of each."""
        return len(self.picks) + len(self.missing) + len(self.leaving)


def next_change(
    context: Context,
    port: Port,
    network: PodNetwork,
    records: list[Record],
    absent: Mapping[IPAddress, FixedIp],
    progress: Progress,
) -> Change | None:
    """What to change now, recorded in the store; None when everything is as it should be.

    `absent`: addresses of held leases that are not on the port and shall be put back.
    """
    limit = progress.limit
    picks = dict(islice(picks_for(context, port, network, records, progress).items(), limit))
    still_wanted = context.store.intend(picks)
    picks = {record_id: picks[record_id] for record_id in picks if record_id in still_wanted}
    room = None if limit is None else max(0, limit - len(picks))
    missing = dict(islice(absent.items(), room))
    room = None if room is None else room - len(missing)
    leaving = _leaving(context, port, records, progress, serving=bool(picks))
    change = Change(picks, missing, frozenset(islice(leaving, room)))
    return change if change.size else None


def _leaving(
    context: Context, port: Port, records: list[Record], progress: Progress, serving: bool
) -> list[IPAddress]:
    live = live_addresses(context)
    released = [record for record in records if record.state is State.RELEASED]
    leaving = (
        set().union(*(removable(record, context, port, live) for record in released))
        - progress.blocked
    )
    allowed = [
        address
        for address in sorted(leaving, key=str)
        if not (
            serving and context.store.fact(blocked_fact(context.anchor, address), BLOCKED_SECONDS)
        )
    ]
    pointed = pointed_at(context, port, allowed)
    progress.blocked |= pointed
    return [address for address in allowed if address not in pointed]


def make(context: Context, port: Port, change: Change, progress: Progress) -> Port:
    """Claim the new addresses, update the port, and return it as it then is.

    Raises CniError; not where another round of `settle` may mend it.
    """
    try:
        port = _claim(context, port, change)
    except TagLimit as error:
        _halve(context, port, change, progress, error)
        return context.neutron.port(port.id)
    others = _taken_by_others(context, port, change, progress)
    if others:
        progress.races += 1
        _choose_again(context, port, others, progress)
        return context.neutron.port(port.id)
    joining = change.joining
    target = [item for item in port.fixed_ips if item.address not in change.leaving]
    target += [item for item in joining.values() if item.address not in port.addresses]
    try:
        port = context.neutron.set_fixed_ips(port, target)
    except StaleRevision:
        progress.races += 1
        _pause(context)
    except AnswerLost:
        # The next round reads whether the update was made.
        progress.uncertain |= change.picks.keys()
        progress.unanswered += 1
        if progress.unanswered > MAX_UNANSWERED:
            raise
        _pause(context)
    except AddressTaken as error:
        _avoid_taken(context, port, change, progress, error)
    except (ObjectInUse, Refused, NotFound, FixedIpLimit) as error:
        _halve(context, port, change, progress, error)
    else:
        progress.made |= change.picks.keys()
        progress.limit = None if progress.limit is None else 2 * progress.limit
        return port
    return context.neutron.port(port.id)


def _pause(context: Context) -> None:
    """Let another writer of the port go first; for a random time, as that one may do the same."""
    time.sleep(min(context.deadline.left, context.random.uniform(0.02, 0.2)))


def _claim(context: Context, port: Port, change: Change) -> Port:
    """Write our claims; returns the port as it is after that, with everybody's claims."""
    records = [context.store.get(record_id) for record_id in change.picks]
    claims = set().union(*(claims_for(r, context) for r in records if r is not None))
    return context.neutron.port(port.id) if claim_tags.write(context, port, claims) else port


def _taken_by_others(context: Context, port: Port, change: Change, progress: Progress) -> list[int]:
    """Leases that can't have what was chosen for them.

    Another attachment claims it too, or somebody put it on the port although we did not.
    """
    certainly_not_made = change.picks.keys() - progress.made - progress.uncertain
    return [
        record.id
        for record_id, addresses in change.picks.items()
        if (record := context.store.get(record_id)) is not None
        and (
            contested(record, context, port)
            or (
                record_id in certainly_not_made
                and any(item.address in port.addresses for item in addresses)
            )
        )
    ]


def _choose_again(context: Context, port: Port, record_ids: list[int], progress: Progress) -> None:
    """Have other addresses chosen for these leases.

    Addresses that may be on the port already stay behind in released leases: these are watched, and
    their addresses taken off.
    """
    perhaps_made = progress.uncertain | progress.made
    watched = [item for item in record_ids if item in perhaps_made]
    context.store.return_to_wanted_and_watch(watched, time.time() + LATE_ANSWER_SECONDS)
    certain = [item for item in record_ids if item not in perhaps_made]
    records = [context.store.get(record_id) for record_id in certain]
    claims = set().union(*(claims_for(r, context) for r in records if r is not None))
    with suppress(TagLimit):  # else they are found to be without a lease, and withdrawn later
        claim_tags.withdraw(context, port, claims)
    context.store.return_to_wanted(certain)
    progress.uncertain -= set(watched)
    progress.made -= set(watched)


def _avoid_taken(
    context: Context, port: Port, change: Change, progress: Progress, error: AddressTaken
) -> None:
    """Neutron refused the update whole because an address in it belongs to another port."""
    progress.used = context.neutron.addresses_in_use(port.network_id)
    taken = (change.joining.keys() & progress.used) - port.addresses
    if not taken:
        # The address belongs to a port in a project that we can't list, so we don't know which of
        # ours it is: halve the update.
        _halve(context, port, change, progress, error)
        return
    progress.lost |= taken & change.missing.keys()
    losers = [
        record_id
        for record_id, addresses in change.picks.items()
        if taken & {item.address for item in addresses}
    ]
    _choose_again(context, port, losers, progress)


def _halve(
    context: Context, port: Port, change: Change, progress: Progress, error: CniError
) -> None:
    """Neutron refuses the update for one of its parts and does not say which.

    The next update has half of the parts. Once it has one only, that part is the one: do without.
    """
    if change.size > 1:
        progress.limit = max(1, change.size // 2)
        return
    progress.limit = None
    progress.lost |= change.missing.keys()
    progress.blocked |= change.leaving
    context.note_blocked(change.leaving, str(error))
    for record_id, addresses in change.picks.items():
        if isinstance(error, Refused) and (subnet := _subnet_refused(addresses, error)):
            progress.unfit[subnet] = error.message
            _choose_again(context, port, _picked_from(context, subnet), progress)
            continue
        _choose_again(context, port, [record_id], progress)
        if isinstance(error, AddressTaken):
            progress.refused |= {item.address for item in addresses}
        else:
            context.store.fail({record_id: error})


def _subnet_refused(addresses: tuple[PortAddress, ...], error: CniError) -> str:
    """The subnet (id) that the refusal of these addresses is about; empty where that can't be
    told."""
    subnets = {item.subnet_id for item in addresses}
    told = subnets if len(subnets) == 1 else {item for item in subnets if item in error.message}
    return told.pop() if len(told) == 1 else ""


def _picked_from(context: Context, subnet_id: str) -> list[int]:
    """Intended leases with addresses of a subnet: all of them need others."""
    return [
        record.id
        for record in context.records()
        if record.state is State.INTENDED
        and any(item.subnet_id == subnet_id for item in record.addresses)
    ]

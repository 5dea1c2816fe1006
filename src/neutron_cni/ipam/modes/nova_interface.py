"""Mode `nova-interface`: every pod has a NIC of its own, with a Neutron port, that Nova gives to
this VM while the pod lives.

For main plugins that move a NIC into the pod (host-device-plus). All leases of a cloud share one
anchor, since Nova changes one NIC of a server at a time: whoever has its lock asks for one after
another, and a burst of pods is no race. The port is made and recorded before Nova is asked for its
NIC, and a NIC is taken away before its port is deleted; whatever is in between after a crash is
seen at the port.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from neutron_cni.ipam.choose import Offer
from neutron_cni.ipam.modes import lost_ports, marks, reservations, warm_nics
from neutron_cni.ipam.modes.capacity import quota_of_ports, room_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.contract import Finding, Kind, Known, Seen, Strays
from neutron_cni.ipam.modes.nics import KEPT, LOOK_SECONDS, Nics, is_certain, one_by_one
from neutron_cni.ipam.modes.reserving_port import PortWanted
from neutron_cni.ipam.modes.subnets import Holder, PodNetwork, configured_network
from neutron_cni.ipam.room import Capacity
from neutron_cni.ipam.settling import LITTLE_LEFT
from neutron_cni.openstack.errors import AnswerLost, Unauthorized, Unreachable
from neutron_cni.store import Record, State
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig

DETACH_SECONDS = 10.0
"""How long is waited for Nova to take NICs away, if nobody waits for a NIC meanwhile."""
AGAIN_SECONDS = 5.0
"""So soon nobody who waits for a NIC asks again for the same NICs to go."""


def settle(context: Context) -> None:
    """See `ModePage`. NICs that go are asked for first: they make room for those that come."""
    lost_ports.recover_now_and_then(context, "adopted-nics", recover_lost)
    nics = Nics(context)
    warm_nics.give_up_half_made(context)
    going = warm_nics.take_back(context, nics, context.over_quarantine())
    context.store.end_quarantine(going)
    records = context.records()
    leaving = [record for record in records if record.state is State.RELEASED]
    coming = [r for r in records if r.state in (State.WANTED, State.INTENDED)]
    coming = _as_far_as(context.caller, coming)
    if coming and _seen_to(context, leaving):
        leaving = []
    failure = one_by_one(
        [
            *(partial(_take, context, nics, record) for record in leaving),
            *(partial(_serve, context, nics, record) for record in coming),
            *([] if coming else [partial(_see_them_gone, context, nics)]),
            *([] if context.caller else [partial(_see_to_warm, context, nics)]),
        ]
    )
    # Who still waits was not tried, and none of it is about him, unless there is no time left.
    if failure is not None and (context.deadline.left <= LITTLE_LEFT or not _waiting(context)):
        raise failure


def _see_to_warm(context: Context, nics: Nics) -> None:
    if not _waiting(context):
        give = partial(_give, context, nics)
        warm_nics.see_to(context, nics, give, partial(_waiting, context))


def _as_far_as(caller: int, coming: list[Record]) -> list[Record]:
    """Those whose turn is before the caller's, and itself.

    A NIC takes Nova seconds. Who is served first and then serves all the others has no time left in
    the end to put its own NIC into the pod, and would give it back; they serve themselves.
    """
    rows = [record.id for record in coming]
    return coming[: rows.index(caller) + 1] if caller in rows else coming


def _seen_to(context: Context, leaving: list[Record]) -> bool:
    """Whether a call did all that can be done for these a moment ago; from now on one did."""
    key, rows = f"leaving|{context.anchor}", " ".join(str(record.id) for record in leaving)
    if context.store.fact(key, AGAIN_SECONDS) == rows:
        return True
    context.store.remember(key, rows)
    return False


def recover_lost(context: Context) -> None:
    """See `ModePage`. The leases are held, or released after a rest, from now on."""
    lost_ports.recover_lost(context, marks.is_nic)


def look(context: Context, leases: Sequence[Record]) -> Seen:
    """See `ModePage`."""
    return Seen(context.install, reserving=reservations.look(context, leases))


def judge(leases: Sequence[Record], seen: Seen) -> list[Finding]:
    """See `ModePage`. The lease's own port must have its addresses, and a server the port.

    None of it is mended: a pod whose NIC was taken away gets no other.
    """
    found = [dataclasses.replace(item, mendable=False) for item in reservations.judge(leases, seen)]
    lacking = {item.record_id for item in found}
    for record in leases:
        ports = {item.port_id for item in record.addresses} & seen.reserving.keys()
        free = sorted(port_id for port_id in ports if not seen.reserving[port_id].device_id)
        if free and record.id not in lacking:
            found.append(
                Finding(
                    Kind.MISSING,
                    tuple(item.address for item in record.addresses),
                    f"{record}: no server has port {free[0]}: somebody detached the pod's NIC",
                    f"no server has port {free[0]} any more: somebody detached the pod's NIC",
                    record.id,
                )
            )
    return found


def look_for_strays(context: Context) -> Strays:
    """See `ModePage`."""
    return reservations.look_for_strays(context, marks.is_nic)


def judge_strays(known: Known, strays: Strays) -> list[Finding]:
    """See `ModePage`."""
    return reservations.judge_strays(known, strays)


def remarks(strays: Strays) -> list[str]:
    """See `ModePage`. There is nothing to say."""
    return []


def capacity(context: Context) -> Capacity:
    """See `ModePage`. Nova is asked too, as every ADD does."""
    network = configured_network(context.neutron, context.config)
    room = room_in(context, network, _offer(context.config, network))
    nics = Nics(context).limit()
    # One that is ready for a pod is no NIC too many.
    free = replace(nics, used=nics.used - warm_nics.count(context))
    return replace(room, ports=quota_of_ports(context), nics=free)


def _serve(context: Context, nics: Nics, record: Record) -> None:
    """`_give`; whoever waits for the lease is told what it met, and nobody else.

    With little time left nobody is: with more it might have gone well, and the next goes on.
    """
    try:
        _give(context, nics, record)
    except CniError as error:
        if context.deadline.left <= LITTLE_LEFT or not record.owner_alive:
            raise
        context.store.fail({record.id: error})
        context.store.abandon({record.id: error})


def _waiting(context: Context) -> bool:
    """Whether a call waits for a NIC that was not asked for yet."""
    wanted = [r for r in context.records() if r.state is State.WANTED and not r.is_warm]
    return any(record.owner_alive for record in wanted)


def _give(context: Context, nics: Nics, record: Record) -> None:
    """Make the lease's port, have Nova attach it, and hold the lease.

    The port's id is in the store before Nova is asked. After a refusal the port goes at once.
    Raises CniError where it is not certain that Nova has not begun: the lease stays `intended`.
    """
    if record.state is State.WANTED:
        try:
            if not record.is_warm:
                warm_nics.make_way(context, nics, record, partial(_take, context, nics))
            nics.require_room()
        except (Unreachable, Unauthorized, AnswerLost):
            raise
        except CniError as error:
            context.store.fail({record.id: error})
            return
    reserved = reservations.acquire(context, record, lambda: _wanted(context, record.config))
    if reserved is None or not context.store.intend({record.id: reserved.addresses}):
        return
    try:
        nics.attach(reserved.port)
    except (Unreachable, Unauthorized):
        raise
    except CniError as error:
        if not is_certain(error):
            raise
        reservations.refuse(context, record, [reserved.port.id], error)
        nics.forget(reserved.port.mac)
        return
    port = reserved.port
    lease = reserved.network.lease(record.config, reserved.addresses, port.id, nic_mac=port.mac)
    if record.is_warm:
        context.store.make_ready(record.id, reserved.addresses, lease)
    else:
        context.store.hold({record.id: (reserved.addresses, lease)})


def _take(context: Context, nics: Nics, record: Record) -> None:
    """Have the NIC of a released lease taken away, and delete its port where nobody has it."""
    gone = reservations.remove(context, record, before=nics.ask_to_detach, may_fail=KEPT)
    if gone and record.lease is not None:  # Somebody else may have deleted the port.
        nics.forget(record.lease.nic_mac)


def _see_them_gone(context: Context, nics: Nics) -> None:
    """Delete the ports of released leases as Nova lets go of them, unless somebody waits."""
    deadline = context.deadline.at_most(DETACH_SECONDS)
    while True:
        if _waiting(context):
            return
        going = [r for r in context.records() if r.state is State.RELEASED and not r.absent]
        gone = [reservations.remove(context, r, nics.has_gone, KEPT) for r in going]
        if all(gone) or deadline.left <= LOOK_SECONDS:
            return
        time.sleep(LOOK_SECONDS)


def _offer(config: IpamConfig, network: PodNetwork) -> Offer:
    holder = Holder(marks.DEVICE_OWNER, named=False)
    return network.offered(config, [item.id for item in network.subnets], holder)


def _wanted(context: Context, config: IpamConfig) -> PortWanted:
    network = configured_network(context.neutron, config)
    more: dict[str, Any] = {}
    if config.security_groups is not None:
        more["security_groups"] = [
            context.neutron.security_group_id(group) for group in config.security_groups
        ]
    if config.vnic_type is not None:
        more["binding:vnic_type"] = config.vnic_type
    if config.port_security is not None:
        more["port_security_enabled"] = config.port_security
        if not config.port_security:
            # Neutron refuses groups on such a port, its project's default group too.
            more["security_groups"] = []
    return PortWanted(network, _offer(config, network), attributes=more)

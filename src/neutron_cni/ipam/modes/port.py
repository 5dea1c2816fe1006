"""Mode `port`: every pod has a Neutron port of its own, which owns the address and no more.

For nodes that are not Nova's: their NIC is on the provider network, and the port only keeps the
address from others. Every attachment has its own anchor, so these run side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from neutron_cni.ipam.choose import Offer
from neutron_cni.ipam.modes import lost_ports, marks, reservations, reserving_port
from neutron_cni.ipam.modes.capacity import quota_of_ports, room_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.contract import Finding, Known, Seen, Strays
from neutron_cni.ipam.modes.reserving_port import PortWanted
from neutron_cni.ipam.modes.subnets import Holder, PodNetwork, configured_network
from neutron_cni.ipam.room import Capacity
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record, State
from neutron_cni.values.ipam_config import IpamConfig

_OUT_OF_THE_WAY = {"admin_state_up": False, "binding:vnic_type": "baremetal"}
"""Keeps ML2/OVN from speaking for the pod, whose frames have another MAC than the port.

By default OVN's routers send what is for the address to the port's MAC, without asking on the
link (seen with OVN 23.03: VMs did not reach the pod); a port that is down has them ask. OVN also
answers ARP for the address towards VMs on the same network, with the port's MAC; not for a NIC
of bare metal, which answers for itself. Both may be set by any member of the project.
"""


def settle(context: Context) -> None:
    """See `ModePage`. Makes and removes ports until store and Neutron agree."""
    lost_ports.recover_now_and_then(context, "adopted", recover_lost)
    context.store.end_quarantine(context.over_quarantine())
    for record in context.records():
        if record.state in (State.WANTED, State.INTENDED):
            _acquire(context, record)
        elif record.state is State.HELD:
            reservations.put_back(context, record, partial(_wanted, context, record.config))
        elif record.state is State.RELEASED:
            reservations.remove(context, record)


def recover_lost(context: Context) -> None:
    """See `ModePage`. The leases are held or rest from now on."""
    lost_ports.recover_lost(context, _is_of_mode)


def look(context: Context, leases: Sequence[Record]) -> Seen:
    """See `ModePage`."""
    return Seen(context.install, reserving=reservations.look(context, leases))


def judge(leases: Sequence[Record], seen: Seen) -> list[Finding]:
    """See `ModePage`. The lease's own port must have its addresses."""
    return reservations.judge(leases, seen)


def look_for_strays(context: Context) -> Strays:
    """See `ModePage`."""
    return reservations.look_for_strays(context, _is_of_mode)


def judge_strays(known: Known, strays: Strays) -> list[Finding]:
    """See `ModePage`."""
    return reservations.judge_strays(known, strays)


def remarks(strays: Strays) -> list[str]:
    """See `ModePage`. There is nothing to say."""
    return []


def capacity(context: Context) -> Capacity:
    """See `ModePage`."""
    network = configured_network(context.neutron, context.config)
    room = room_in(context, network, _offer(context.config, network))
    return replace(room, ports=quota_of_ports(context))


def _is_of_mode(port: Port) -> bool:
    """A reserving port with a parent is of mode `address-pairs`, whose pair must go with it."""
    return not reserving_port.parents(port) and not marks.is_nic(port)


def _acquire(context: Context, record: Record) -> None:
    reserved = reservations.acquire(context, record, lambda: _wanted(context, record.config))
    if reserved is not None:
        lease = reserved.network.lease(record.config, reserved.addresses, reserved.port.id)
        context.store.hold({record.id: (reserved.addresses, lease)})


def _offer(config: IpamConfig, network: PodNetwork) -> Offer:
    holder = Holder(marks.DEVICE_OWNER, named=False)
    return network.offered(config, [item.id for item in network.subnets], holder)


def _wanted(context: Context, config: IpamConfig) -> PortWanted:
    network = configured_network(context.neutron, config)
    offered = _offer(config, network)
    groups = config.security_groups
    ids = None if groups is None else [context.neutron.security_group_id(g) for g in groups]
    more = {} if ids is None else {"security_groups": ids}
    return PortWanted(network, offered, attributes=_OUT_OF_THE_WAY | more)

"""Mode `address-pairs`: leases and reserving ports that lost one another are brought together."""

from __future__ import annotations

from functools import partial

from neutron_cni.ipam.choose import Offer
from neutron_cni.ipam.modes import previous_port, reservations, reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.reserving_port import PortWanted
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.types import Port
from neutron_cni.store import State


def make_whole(context: Context, port: Port, network: PodNetwork) -> None:
    """Give leases to reserving ports of this VM that have none, and ports to leases that lost
    theirs; have live pods' pairs follow the VM to `port`, which it has now.
    """
    marked = reserving_port.marked_ports(context)
    mine = [item for item in marked if reserving_port.is_of_node(context, item)]
    nonces = {record.nonce for record in context.store.all()}
    for lost in reservations.lost(mine, nonces):
        parents = reserving_port.parents(lost)
        if any(previous_port.is_or_was_vm_port(context, item, port) for item in parents):
            reservations.recover(context, lost, network, port.id, port.mac)
    held = {record.nonce: record for record in context.records() if record.state is State.HELD}
    for reserving in marked:
        if reserving.device_id in held:
            previous_port.move_pair(context, reserving, port)
    intact = {(reserving.device_id, item) for reserving in marked for item in reserving.addresses}
    for record in held.values():
        if not {(record.nonce, item.address) for item in record.addresses} <= intact:
            reservations.put_back(context, record, partial(PortWanted, network, Offer(()), port.id))

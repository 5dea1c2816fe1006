"""Mode `port`: every pod has a Neutron port of its own, which owns the address and no more.

For nodes that are not Nova's: their NIC is on the provider network, and the port only keeps the
address from others. Every attachment has its own anchor, so these run side by side.
"""

from __future__ import annotations

import time

from neutron_cni.ipam.modes import reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.recovery import recovered_lease
from neutron_cni.ipam.modes.subnets import PodNetwork, read_pod_network
from neutron_cni.openstack.errors import AnswerLost, ObjectInUse
from neutron_cni.store import Record, State
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

_OUT_OF_THE_WAY = {"admin_state_up": False, "binding:vnic_type": "baremetal"}
"""Keeps ML2/OVN from speaking for the pod, whose frames have another MAC than the port.

By default OVN's routers send what is for the address to the port's MAC, without asking on the
link (seen with OVN 23.03: VMs did not reach the pod); a port that is down has them ask. OVN also
answers ARP for the address towards VMs on the same network, with the port's MAC; not for a NIC
of bare metal, which answers for itself. Both may be set by any member of the project.
"""


def settle(context: Context) -> None:
    """Make and remove ports until store and Neutron agree about this attachment."""
    context.store.end_quarantine(context.quarantines_over())
    for record in context.records():
        if record.state in (State.WANTED, State.INTENDED):
            _acquire(context, record)
        elif record.state is State.RELEASED:
            _give_back(context, record)


def network_of(context: Context, config: IpamConfig) -> PodNetwork:
    """The network that the configuration names. Raises CniError."""
    if not config.network:
        raise CniError(
            Code.INVALID_CONFIG,
            "mode `port` needs `network`, the Neutron network to take addresses from",
            "add it to the ipam section, by name or id",
        )
    return read_pod_network(context.neutron, context.neutron.network(config.network).id)


def adopt_all(context: Context) -> None:
    """Ports of this installation that the store does not know: held or resting from now on."""
    found = reserving_port.marked_ports(context)
    # Read after Neutron: a row is written before its port, so a port without one is lost.
    known = {record.nonce for record in context.store.all()}
    lost = {
        nonce: port
        for nonce, port in found.items()
        # One with a parent is of mode `address-pairs`, whose pair must go with it.
        if reserving_port.is_lost(context, port, known)
        and not reserving_port.tag_value(port, "parent")
    }
    for nonce, port in lost.items():
        token = reserving_port.tag_value(port, "token")
        network = read_pod_network(context.neutron, port.network_id)
        config = reserving_port.config_of(context, port)
        record = recovered_lease(
            context,
            token,
            reserving_port.addresses_of(port),
            network,
            port.id,
            False,
            nonce,
            config,
        )
        context.store.add_recovered(record)


def _acquire(context: Context, record: Record) -> None:
    try:
        network = network_of(context, record.config)
        offered = network.offered(record.config, [item.id for item in network.subnets])
        groups = record.config.security_groups
        ids = None if groups is None else [context.neutron.security_group_id(g) for g in groups]
    except CniError as error:
        if record.state is State.INTENDED:
            raise
        context.store.fail({record.id: error})
        return
    if not context.store.intend({record.id: record.addresses}):
        return
    try:
        more = _OUT_OF_THE_WAY if ids is None else _OUT_OF_THE_WAY | {"security_groups": ids}
        port = reserving_port.create_or_find(context, record, network.id, offered, more=more)
    except CniError as error:
        if record.state is State.INTENDED or isinstance(error, AnswerLost):
            # A call made earlier, or just now, may have made the port all the same.
            raise
        context.store.return_to_wanted([record.id])
        context.store.fail({record.id: error})
        return
    addresses = reserving_port.addresses_of(port)
    context.store.hold({record.id: (addresses, network.lease(addresses, port.id, announce=True))})


def _give_back(context: Context, record: Record) -> None:
    port = reserving_port.find(context, record)
    if port is not None:
        try:
            context.neutron.delete_port(port.id)
        except ObjectInUse:
            return
    # Until then a creation whose answer was lost may still come to pass.
    if record.until <= time.time():
        context.store.forget([record.id])

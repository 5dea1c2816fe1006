"""Mode `fixed-ips`: which addresses to add to the VM's port for those who wait."""

from __future__ import annotations

from neutron_cni.ipam.choose import Choice, Offer, Want, choose, named
from neutron_cni.ipam.claim import claims_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.fixed_ips_recording import Progress
from neutron_cni.ipam.modes.subnets import Holder, PodNetwork, none_fits
from neutron_cni.openstack.types import Port
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig


def picks_for(
    context: Context,
    port: Port,
    network: PodNetwork,
    records: list[Record],
    progress: Progress,
) -> dict[int, tuple[PortAddress, ...]]:
    """Addresses for those who wait; what a dead process had intended stays as it was written."""
    intended = {r.id: r.addresses for r in records if r.state is State.INTENDED and r.addresses}
    waiting = [
        r
        for r in records
        if r.state is State.WANTED or (r.state is State.INTENDED and not r.addresses)
    ]
    if not waiting:
        return intended
    choice = _choose(context, port, network, waiting, progress)
    context.store.fail(choice.failures)
    return intended | {
        record_id: tuple(PortAddress(item.address, item.subnet_id, port.id) for item in addresses)
        for record_id, addresses in choice.picks.items()
    }


def _choose(
    context: Context,
    port: Port,
    network: PodNetwork,
    waiting: list[Record],
    progress: Progress,
) -> Choice:
    """Choose for each from its own configuration's subnets: several networks share a queue."""
    if progress.used is None:
        progress.used = context.neutron.addresses_in_use(port.network_id)
    everybody = context.store.entries()
    ours = {entry.address for entry in everybody}
    resting = {e.address for e in everybody if e.state in (State.COOLING, State.RELEASED)}
    claimed = {claim.address for claim in claims_in(port.tags)}
    used = progress.used | progress.refused | port.addresses | claimed | ours
    whole = Choice()
    for key in dict.fromkeys(_offer_key(record.config) for record in waiting):
        group = [record for record in waiting if _offer_key(record.config) == key]
        try:
            offer = _fitting(offer_of(group[0].config, port, network), progress, network)
        except CniError as error:
            whole.failures |= {record.id: error for record in group}
            continue
        wants = [Want(record.id, record.wish.requested) for record in group]
        part = choose(wants, offer, used, resting, context.random)
        used = used | {item.address for items in part.picks.values() for item in items}
        whole.picks |= part.picks
        whole.failures |= part.failures
    return whole


def _offer_key(config: IpamConfig) -> tuple[object, ...]:
    """Configurations with the same are offered the same subnets."""
    return config.subnets, config.gateway, config.routes


def offer_of(config: IpamConfig, port: Port, network: PodNetwork) -> Offer:
    """The subnets for pods of one configuration. Raises CniError where none can serve."""
    holder = Holder(port.device_owner, network.segments_of(port.fixed_ips))
    return network.offered(config, [item.subnet_id for item in port.fixed_ips], holder)


def _fitting(offer: Offer, progress: Progress, network: PodNetwork) -> Offer:
    """Without the subnets that Neutron has just refused.

    Raises CniError where none of an IP version is left.
    """
    fit = tuple(item for item in offer.subnets if item.id not in progress.unfit)
    refused = [s for s in offer.subnets if s.id in progress.unfit]
    left_out = (*offer.left_out, *(f"{named(s)}: {progress.unfit[s.id]}" for s in refused))
    if {s.version for s in fit} != {s.version for s in offer.subnets}:
        raise none_fits(network.network.name or network.id, left_out)
    return Offer(fit, left_out)

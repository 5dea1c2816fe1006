"""Mode `fixed-ips`: a pod's address is one more fixed IP of the VM's own port.

One update of the port serves everybody who waits: Neutron needs three times as long for one more
address on a port with 50 as on a port with 1, but hardly longer for ten at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from neutron_cni.ipam import locate
from neutron_cni.ipam.choose import named
from neutron_cni.ipam.claim import claims_in
from neutron_cni.ipam.modes import previous_port
from neutron_cni.ipam.modes.capacity import room_in
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.contract import Finding, Kind, Known, Seen, Strays
from neutron_cni.ipam.modes.fixed_ips_choice import offer_of
from neutron_cni.ipam.modes.fixed_ips_recording import (
    Progress,
    contested,
    first_progress,
    is_vms_own,
    record_vm_port,
)
from neutron_cni.ipam.modes.fixed_ips_update import make, next_change
from neutron_cni.ipam.modes.subnets import read_pod_network
from neutron_cni.ipam.room import Capacity
from neutron_cni.openstack.types import FixedIp, Port
from neutron_cni.store import Record, State
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

MAX_RACES = 40
"""Lost races against other writers: with jitter so many are no accident."""
MAX_ROUNDS = 400
"""Each round makes a change, or finds one part of it that can't be made."""


def settle(context: Context) -> None:
    """See `ModePage`. Makes the port and the store agree."""
    try:
        port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    except CniError as error:
        if error.code == Code.PORT_NOT_FOUND:
            previous_port.release_on_previous_ports(context)
        raise
    network = read_pod_network(context.neutron, port.network_id)
    context.store.end_quarantine(context.over_quarantine())
    progress = first_progress(context, port)
    previous_port.empty_previous_ports(context, port, progress)
    for _ in range(MAX_ROUNDS):
        port = record_vm_port(context, port, network, progress)
        records = context.records()
        absent = _absent(context, port, records, progress)
        change = next_change(context, port, network, records, absent, progress)
        if change is None:
            return
        port = make(context, port, change, progress)
        if progress.races >= MAX_RACES:
            break
    raise CniError(
        Code.TRY_AGAIN,
        f"port {port.id} kept changing under us: {progress.races} updates were lost to others",
        "which other tool edits this port's fixed_ips?",
    )


def recover_lost(context: Context) -> None:
    """See `ModePage`. `settle` does it each time."""


def look(context: Context, leases: Sequence[Record]) -> Seen:
    """See `ModePage`. The VM's port has them all."""
    port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    return Seen(context.install, port)


def judge(leases: Sequence[Record], seen: Seen) -> list[Finding]:
    """See `ModePage`. The VM's port must have the addresses, and by our doing."""
    assert seen.vm_port is not None
    port, present = seen.vm_port, seen.vm_port.addresses
    found: list[Finding] = []
    for record in leases:
        for item in record.addresses:
            if item.address not in present:
                text = f"{record}: not on the VM's port {port.id}, so its traffic is dropped"
                check = f"{item.address} is not among the fixed IPs of the VM's port {port.id}"
            elif is_vms_own(item, record.token, seen.install, port):
                text = f"{record}: on the VM's port {port.id}, but as the VM's own address"
                check = f"{item.address} is on the VM's port {port.id}, but not for a pod"
            else:
                continue
            mendable = item.address not in present
            found.append(Finding(Kind.MISSING, (item.address,), text, check, record.id, mendable))
    return found


def look_for_strays(context: Context) -> Strays:
    """See `ModePage`. They are claims: tags of the VM's port."""
    port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    return Strays(context.install, port)


def judge_strays(known: Known, strays: Strays) -> list[Finding]:
    """See `ModePage`."""
    assert strays.vm_port is not None
    return list(_stray_claims(known, strays.install, strays.vm_port))


def remarks(strays: Strays) -> list[str]:
    """See `ModePage`. Neutron's DNS gives the port's name to every address of the port."""
    port = strays.vm_port
    if port is None or not (port.dns_name and claims_in(port.tags)):
        return []
    return [
        f"the DNS name {port.dns_name} of the VM's port {port.id} is also that of its pods' "
        "addresses, if this cloud's Neutron serves DNS; to end that: "
        f"openstack port set --dns-name '' {port.id}"
    ]


def capacity(context: Context) -> Capacity:
    """See `ModePage`."""
    port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
    network = read_pod_network(context.neutron, port.network_id)
    offer = offer_of(context.config, port, network)
    dhcp = tuple(named(item) for item in offer.subnets if item.dhcp and item.version == 4)
    return msgspec.structs.replace(room_in(context, network, offer), dhcp=dhcp)


def _absent(
    context: Context, port: Port, records: list[Record], progress: Progress
) -> dict[IPAddress, FixedIp]:
    """Addresses of held leases that somebody took off the port: they are to be put back."""
    held = [
        record
        for record in records
        if record.state is State.HELD and not contested(record, context, port)
    ]
    judged = judge(held, Seen(context.install, port))
    mendable = {address for item in judged if item.mendable for address in item.addresses}
    mendable -= progress.lost
    return {
        item.address: FixedIp(item.subnet_id, item.address)
        for record in held
        for item in record.addresses
        if item.address in mendable
    }


def _stray_claims(known: Known, install: str, port: Port) -> Iterator[Finding]:
    for claim in sorted(claims_in(port.tags), key=lambda item: item.tag):
        if claim.install != install:
            text = f"claimed on port {port.id} by another installation ({claim.install})"
            yield Finding(Kind.FOREIGN, (claim.address,), text)
        elif claim.address in port.addresses - known.addresses:
            text = f"on port {port.id} by our claim, but the store does not know it"
            yield Finding(Kind.UNKNOWN, (claim.address,), text)

"""What differs between this node's store, its namespaces and Neutron."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from neutron_cni.ipam import locate, node
from neutron_cni.ipam.claim import claims_in
from neutron_cni.ipam.modes import reserving_port
from neutron_cni.ipam.modes.address_pairs import pair_addresses
from neutron_cni.ipam.modes.context import Context, NamespaceWith
from neutron_cni.ipam.modes.fixed_ips_recording import is_vms_own
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record, State
from neutron_cni.store.sandbox import is_gone
from neutron_cni.values.address import IPAddress
from neutron_cni.values.ipam_config import Mode

YOUNG_SECONDS = 60.0
"""A lease younger than this may belong to an ADD that is still at work."""


class Kind(StrEnum):
    """What is the matter."""

    UNUSED = "unused"
    """Held, but its namespace is gone and no other on this node has the address."""
    MISSING = "missing"
    """Held, but Neutron does not have it (any more)."""
    UNKNOWN = "unknown"
    """Ours by Neutron's tags, but the store does not know it."""
    FOREIGN = "foreign"
    """Another installation's of neutron-cni: on this VM's port, or made for a node of this name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in words. `record_id` is the lease's row, 0 where there is none."""

    kind: Kind
    address: str
    text: str
    record_id: int = 0
    mendable: bool = False
    """Whether `gc --apply`, or the next ADD, puts the address back."""


def unused(records: list[Record], namespace_with: NamespaceWith) -> list[Finding]:
    """Leases that no container on this node uses: its namespace ended, and nobody has the address.

    A namespace whose file is gone may live on in a process, so all of the node's are asked.
    """
    found = []
    for record in records:
        if not record.abandoned_or_held or time.time() - record.changed < YOUNG_SECONDS:
            continue
        netns = record.attachment.netns
        if not is_gone(netns, record.netns_inode):
            continue
        if any(namespace_with(item.address) for item in record.addresses):
            continue
        where = f"its namespace {netns} is gone" if netns else "it never had a namespace"
        addresses = ", ".join(str(item.address) for item in record.addresses) or "(none yet)"
        found.append(Finding(Kind.UNUSED, addresses, f"{record}: {where}", record.id))
    return found


def against_neutron(context: Context) -> list[Finding]:
    """What differs for one anchor and mode. Raises CniError when Neutron can't be asked."""
    reserved = _reserved(context)
    # Read after Neutron: a row is written before what it stands for is made.
    records = [r for r in context.store.all() if r.config.mode is context.config.mode]
    port = None
    if context.config.mode is not Mode.PORT:
        port = locate.vm_port(context.config, context.store, context.neutron, context.uplink)
        records = [r for r in records if r.anchor == context.anchor]
    found = list(_missing(context, records, port, reserved))
    if port is not None and context.config.mode is Mode.FIXED_IPS:
        found += _claims(context, port)
    else:
        found += _of_former_installations(context)
    known = {record.nonce for record in context.store.all()}
    found += [
        Finding(Kind.UNKNOWN, _addresses(item), f"port {item.id} ({item.name}) has no lease here")
        for item in reserved.values()
        if reserving_port.is_lost(context, item, known)
        and (port is None) == (not reserving_port.tag_value(item, "parent"))
    ]
    return found


def _reserved(context: Context) -> dict[str, Port]:
    return {} if context.config.mode is Mode.FIXED_IPS else reserving_port.marked_ports(context)


def _missing(
    context: Context, records: list[Record], port: Port | None, reserved: dict[str, Port]
) -> Iterator[Finding]:
    for record in records:
        if record.state is not State.HELD:
            continue
        for item in record.addresses:
            address = item.address
            if port is not None and address not in _let_through(context, port):
                text = f"{record}: not on the VM's port {port.id}, so its traffic is dropped"
                yield Finding(Kind.MISSING, str(address), text, record.id, mendable=True)
            elif (
                port is not None
                and context.config.mode is Mode.FIXED_IPS
                and is_vms_own(item, record.token, context.install, port)
            ):
                text = f"{record}: on the VM's port {port.id}, but as the VM's own address"
                yield Finding(Kind.MISSING, str(address), text, record.id)
            elif context.config.mode is not Mode.FIXED_IPS and record.nonce not in reserved:
                text = f"{record}: no port reserves the address, so it may be given to another"
                yield Finding(Kind.MISSING, str(address), text, record.id)


def _let_through(context: Context, port: Port) -> frozenset[IPAddress] | set[IPAddress]:
    return port.addresses if context.config.mode is Mode.FIXED_IPS else pair_addresses(port)


def _claims(context: Context, port: Port) -> Iterator[Finding]:
    known = {entry.address for entry in context.store.entries()}
    for claim in sorted(claims_in(port.tags), key=lambda item: item.tag):
        if claim.install != context.install:
            text = f"claimed on port {port.id} by another installation ({claim.install})"
            yield Finding(Kind.FOREIGN, str(claim.address), text)
        elif claim.address in port.addresses - known:
            text = f"on port {port.id} by our claim, but the store does not know it"
            yield Finding(Kind.UNKNOWN, str(claim.address), text)


def _of_former_installations(context: Context) -> Iterator[Finding]:
    """Ports for a node of this name that are not of this installation: its store is no more."""
    for name, cluster in dict.fromkeys((node.name(c), c.cluster) for c in context.configs):
        for port in context.neutron.ports(
            tags=f"{reserving_port.TAG},{reserving_port.node_tag(name)}"
        ):
            install = reserving_port.tag_value(port, "install")
            if install == context.install or port.device_owner != reserving_port.DEVICE_OWNER:
                continue
            if reserving_port.tag_value(port, "cluster") == cluster:
                text = (
                    f"port {port.id} ({port.name}) was made by installation {install} of a node "
                    f"of this name; if that is no more: neutron-cni gc --node {name} "
                    f"--install {install} --node-is-gone"
                )
                yield Finding(Kind.FOREIGN, _addresses(port), text)


def _addresses(port: Port) -> str:
    return ", ".join(str(item.address) for item in port.fixed_ips)

"""Leases that Neutron shows to be ours but the store does not know.

They come from a store that was lost or damaged, or from an update that reached Neutron after its
lease was forgotten. An address that a namespace of this node has is held for it; any other goes
into quarantine and is then released. Neutron's tags tell them from what an operator or another tool
added.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4

from neutron_cni.ipam.claim import Claim
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.types import Port
from neutron_cni.store import PortAddress, Record, State, Wish
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.store.sandbox import inode_of
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.ipam_config import IpamConfig


def recovered_lease(
    context: Context,
    token: str,
    addresses: tuple[PortAddress, ...],
    network: PodNetwork,
    port_id: str,
    nonce: str = "",
    config: IpamConfig | None = None,
    nic_mac: str = "",
) -> Record:
    """The record of a lost lease. Container and interface are unknown; `token` stands for both.

    DEL computes the same token, so the runtime's DEL finds it all the same. `config`: that of the
    network that it probably was of; by default the newest.
    """
    now = time.time()
    config = context.config if config is None else config
    netns = next((path for item in addresses if (path := context.namespace_with(item.address))), "")
    return Record(
        network="",
        attachment=Attachment("", "", netns),
        token=token,
        nonce=nonce or uuid4().hex,
        pod=PodRef(),
        config=config,
        anchor=context.anchor,
        state=State.HELD if netns else State.COOLING,
        wish=Wish(),
        owner="",
        netns_inode=inode_of(netns),
        created=0.0,  # not known, so its configuration is never the newest
        changed=now,
        until=0.0 if netns else now + config.quarantine,
        addresses=addresses,
        lease=network.lease(config, addresses, port_id, nic_mac),
    )


def recovered_fixed_ips(
    context: Context, token: str, claims: Sequence[Claim], port: Port, network: PodNetwork
) -> Record:
    """The record for addresses that the VM's port has with our claims for one attachment."""
    subnets = {item.address: item.subnet_id for item in port.fixed_ips}
    items = sorted(claims, key=lambda claim: claim.address.version)
    held = tuple(PortAddress(claim.address, subnets[claim.address], port.id) for claim in items)
    return recovered_lease(context, token, held, network, port.id, nic_mac=port.mac)


def watched_claims(
    context: Context, token: str, claims: Sequence[Claim], port: Port, network: PodNetwork
) -> Record:
    """The record for claims whose addresses are not on the port: an update may be on its way."""
    now = time.time()
    held = tuple(
        PortAddress(claim.address, _subnet_of(claim.address, network), port.id) for claim in claims
    )
    return Record(
        network="",
        attachment=Attachment("", "", ""),
        token=token,
        nonce=uuid4().hex,
        pod=PodRef(),
        config=context.config,
        anchor=context.anchor,
        state=State.RELEASED,
        wish=Wish(),
        owner="",
        created=0.0,  # not known, so its configuration is never the newest
        changed=now,
        until=now + LATE_ANSWER_SECONDS,
        addresses=held,
    )


def _subnet_of(address: IPAddress, network: PodNetwork) -> str:
    return next((subnet.id for subnet in network.subnets if address in subnet.cidr), "")

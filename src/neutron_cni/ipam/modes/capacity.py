"""Whether one more pod could get an address: what STATUS asks, in parts that the modes share."""

from __future__ import annotations

from dataclasses import replace

from neutron_cni.ipam.choose import Offer, exhausted, free_count
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.values.errors import CniError, Code

TAGS_SECONDS = 3600.0
"""How long a cloud that was seen to have tags of ports is believed to have them."""


def require_tags(context: Context) -> None:
    """Return where the cloud's ports can be tagged; otherwise CniError. Seldom asks Neutron."""
    config = context.config
    key = f"tags|{config.cloud or ''}|{config.clouds_file or ''}"
    if context.store.fact(key, TAGS_SECONDS) is None:
        context.neutron.require_tags()
        context.store.remember(key, "yes")


def require_free_address(context: Context, network: PodNetwork, offer: Offer) -> None:
    """Return when the subnets on offer have a free address of each family; otherwise CniError."""
    require_tags(context)
    used = context.neutron.addresses_in_use(network.id)
    for version in {subnet.version for subnet in offer.subnets}:
        family = tuple(subnet for subnet in offer.subnets if subnet.version == version)
        if not any(subnet.automatic or free_count(subnet, used) > 0 for subnet in family):
            raise exhausted(replace(offer, subnets=family))


def require_room_for_a_port(context: Context, network: PodNetwork, offer: Offer) -> None:
    """Return when one more reserving port could be made on the network; otherwise CniError."""
    require_free_address(context, network, offer)
    for group in context.config.security_groups or ():
        context.neutron.security_group_id(group)
    project = context.neutron.project_id()
    quota = context.neutron.port_quota(project) if project else None
    if quota is not None and quota.full:
        raise CniError(
            Code.EXHAUSTED,
            f"the project's quota of {quota.limit} ports is used up ({quota.used} used)",
            "ask for a larger quota, or delete unused ports",
        )

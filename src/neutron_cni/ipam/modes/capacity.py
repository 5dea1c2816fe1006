"""What is left for further pods: what STATUS asks, in parts that the modes share."""

from __future__ import annotations

from neutron_cni.ipam.choose import Offer, free_count
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.ipam.room import MOST_COUNTED, Capacity, Limit, SubnetRoom

TAGS_SECONDS = 3600.0
"""How long a cloud that was seen to have tags of ports is believed to have them."""


def require_tags(context: Context) -> None:
    """Return where the cloud's ports can be tagged; otherwise CniError. Seldom asks Neutron."""
    config = context.config
    key = f"tags|{config.cloud or ''}|{config.clouds_file or ''}"
    if context.store.fact(key, TAGS_SECONDS) is None:
        context.neutron.require_tags()
        context.store.remember(key, "yes")


def room_in(context: Context, network: PodNetwork, offer: Offer) -> Capacity:
    """The subnets on offer, with their free addresses."""
    require_tags(context)
    used = context.neutron.addresses_in_use(network.id)
    subnets = tuple(
        SubnetRoom(
            subnet.name or subnet.id,
            str(subnet.cidr),
            MOST_COUNTED if subnet.automatic else min(MOST_COUNTED, free_count(subnet, used)),
        )
        for subnet in offer.subnets
    )
    return Capacity(subnets, but=offer.but)


def quota_of_ports(context: Context) -> Limit | None:
    """What the project's quota leaves, None where the cloud does not tell.

    Raises CniError where a security group that a reserving port is to have does not exist.
    """
    for group in context.config.security_groups or ():
        context.neutron.security_group_id(group)
    project = context.neutron.project_id()
    quota = context.neutron.port_quota(project) if project else None
    if quota is None:
        return None
    return Limit(quota.used, quota.limit if quota.limit >= 0 else None)

"""Which of a pod's networks has the second leg to the node. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from neutron_cni.netlink.facts import PodFacts
from neutron_cni.plugins import ownership
from neutron_cni.values.attachment import Attachment

PART = "veth-host"
"""The part that makes it, as in the alias of its end on the node."""


def is_anothers(attachment: Attachment, inside: PodFacts) -> bool:
    """Whether another attachment of the same pod has made a second leg."""
    return any(
        owner.part == PART
        and owner.attachment.container_id == attachment.container_id
        and owner.attachment.ifname != attachment.ifname
        for owner in map(ownership.owner, inside.node_ends)
        if owner is not None
    )


def is_further(attachment: Attachment, inside: PodFacts, versions: AbstractSet[int]) -> bool:
    """Whether the attachment, with addresses of these IP versions, is of a further network of its
    pod: one that has a way to the node already, by a second leg or by a default route."""
    return bool(versions & inside.defaults) or is_anothers(attachment, inside)

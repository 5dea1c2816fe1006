"""The links of pods on this node, as `gc` needs to know them: by the token of their attachment."""

from __future__ import annotations

from neutron_cni.netlink import observe
from neutron_cni.plugins import ownership


def linked() -> frozenset[str]:
    """Tokens of the attachments whose link has its end on this node. Raises CniError KERNEL."""
    links = observe.links_with_alias(ownership.PREFIX)
    owners = (ownership.owner(link.alias) for link in links)
    return frozenset(item.attachment.token(item.network) for item in owners if item is not None)

"""The links of pods on this node, as `gc` needs to know them: by the token of their attachment."""

from __future__ import annotations

from neutron_cni.netlink import nic_records, observe
from neutron_cni.netlink.undo import undo
from neutron_cni.plugins import RECIPES, host_device, ownership
from neutron_cni.plugins.contract import Leftover


def linked() -> frozenset[str]:
    """Tokens of the attachments whose link has its end on this node. Raises CniError KERNEL."""
    links = observe.links_with_alias(ownership.PREFIX)
    owners = [owner for link in links if (owner := ownership.owner(link.alias)) is not None]
    # A NIC that was moved into a pod and is on the node has come back: its pod lives no more.
    return frozenset(
        item.attachment.token(item.network) for item in owners if item.part != host_device.PART
    )


def remove(token: str) -> None:
    """Remove the link of the attachment with that token, as its DEL would. Raises CniError."""
    pages = {page.PART: page for recipe in RECIPES.values() for page in recipe.pages()}
    aliases = {link.alias for link in observe.links_with_alias(ownership.PREFIX)}
    for alias in sorted(aliases | {record.owner for record in nic_records.list_all()}):
        owner = ownership.owner(alias)
        if owner is not None and owner.attachment.token(owner.network) == token:
            page = pages.get(owner.part)
            if page is not None:
                undo(page.leftovers(Leftover(owner.network, owner.attachment)), None)

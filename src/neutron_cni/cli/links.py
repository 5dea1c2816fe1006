"""The links of pods on this node, as `gc` needs to know them: by the token of their attachment."""

from __future__ import annotations

from neutron_cni.netlink import observe
from neutron_cni.netlink.undo import undo
from neutron_cni.plugins import RECIPES, ownership
from neutron_cni.plugins.contract import Leftover


def linked() -> frozenset[str]:
    """Tokens of the attachments whose link has its end on this node. Raises CniError KERNEL."""
    links = observe.links_with_alias(ownership.PREFIX)
    owners = (ownership.owner(link.alias) for link in links)
    return frozenset(item.attachment.token(item.network) for item in owners if item is not None)


def remove(token: str) -> None:
    """Remove the link of the attachment with that token, as its DEL would. Raises CniError."""
    pages = {page.PART: page for recipe in RECIPES.values() for page in recipe.pages()}
    for link in observe.links_with_alias(ownership.PREFIX):
        owner = ownership.owner(link.alias)
        if owner is not None and owner.attachment.token(owner.network) == token:
            page = pages.get(owner.part)
            if page is not None:
                undo(page.leftovers(Leftover(owner.network, owner.attachment)), None)

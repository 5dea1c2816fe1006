"""Leases compared with this node's network namespaces: which of them no container uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from neutron_cni.ipam.modes.context import NamespaceWith
from neutron_cni.ipam.modes.contract import Finding
from neutron_cni.ipam.modes.contract import Kind as Kind
from neutron_cni.store import Record
from neutron_cni.store.sandbox import is_gone

YOUNG_SECONDS = 60.0
"""A lease younger than this may belong to an ADD that is still at work."""


Linked = Callable[[], Collection[str]]
"""Tokens of the attachments whose link, made by a plugin of ours, has its end on this node."""


def unused(
    records: Iterable[Record], namespace_with: NamespaceWith, linked: Linked
) -> list[Finding]:
    """Leases that no container on this node uses: its namespace ended, and nobody has the address.

    A namespace whose file is gone may live on in a process, so all of the node's are asked. One
    that can't be seen at all has a link that ends on the node, and takes it along when it ends.
    """
    found = []
    tokens = linked()
    for record in records:
        if not record.abandoned_or_held or time.time() - record.changed < YOUNG_SECONDS:
            continue
        netns = record.attachment.netns
        if record.token in tokens or not is_gone(netns, record.netns_inode):
            continue
        addresses = tuple(item.address for item in record.addresses)
        if any(namespace_with(address) for address in addresses):
            continue
        where = f"its namespace {netns} is gone" if netns else "it never had a namespace"
        text = f"{record}: {where}"
        found.append(
            Finding(Kind.UNUSED, addresses, text, record_id=record.id, network=record.network)
        )
    return found

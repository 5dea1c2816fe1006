"""Leases compared with this node's network namespaces: which of them no container uses.

And which perhaps none uses: a runtime that lost its data leaves sandboxes behind that nobody ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from neutron_cni.ipam.modes.context import NamespaceWith
from neutron_cni.ipam.modes.contract import Finding
from neutron_cni.ipam.modes.contract import Kind as Kind
from neutron_cni.store import Record, State
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
        if not (record.abandoned_or_held and _is_old(record)):
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


def doubtful(records: Iterable[Record], occupied: Collection[int]) -> list[Finding]:
    """Of leases whose namespaces live, those that the runtime may have forgotten. Pure.

    What an operator attached is in nobody's books but his own, and needs no process in it.
    `occupied`: inodes of the namespaces that a process is in. A pod between two containers may be
    in none, and one that is being made anew has two sandboxes for a while: only who asks the
    runtime knows.
    """
    held = [
        item
        for item in records
        if item.state is State.HELD and _is_old(item) and not item.attachment.by_hand
    ]
    newest = {_sandbox_of(item): item for item in sorted(held, key=lambda item: item.created)}
    found = []
    for record in held:
        reasons = []
        if record.netns_inode and record.netns_inode not in occupied:
            reasons.append(f"no process is in its namespace {record.attachment.netns}")
        latest = newest[_sandbox_of(record)]
        if latest is not record:
            has = ", ".join(str(item.address) for item in latest.addresses)
            reasons.append(f"its pod {record.pod.uid} has a newer sandbox with {has}")
        if reasons:
            addresses = tuple(item.address for item in record.addresses)
            who = f"container {record.attachment.container_id[:13] or f'token {record.token}'}"
            text = f"{record}: {', and '.join(reasons)}; does the runtime still know {who}?"
            found.append(
                Finding(Kind.DOUBTFUL, addresses, text, record_id=record.id, network=record.network)
            )
    return found


def _is_old(record: Record) -> bool:
    return time.time() - record.changed >= YOUNG_SECONDS


def _sandbox_of(record: Record) -> tuple[str, str, str]:
    """What a pod has once; a container outside of Kubernetes is nobody's second."""
    return record.pod.uid or record.nonce, record.network, record.attachment.ifname

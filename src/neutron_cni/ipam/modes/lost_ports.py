"""When ports of ours are looked for that have no lease, in modes that do not look each time."""

from __future__ import annotations

from collections.abc import Callable

from neutron_cni.ipam.lock import FileLock
from neutron_cni.ipam.modes.context import Context

LOOK_AGAIN_SECONDS = 3600.0
"""How often ports are looked for that have no lease; each time a quarter more or less."""


def recover_now_and_then(context: Context, what: str, recover: Callable[[Context], None]) -> None:
    """Take over ports of ours that have no lease: at once for a store that is new or was set aside,
    and then about every hour, for what came to Neutron later than anybody waited for it.

    Once for all attachments of a cloud, and of each name that the node has there. `what` names the
    kind of ports that `recover` takes over.
    """
    config = context.config
    key = f"{what}|{config.cloud or ''}|{config.clouds_file or ''}"
    if config.node:
        key += f"|{config.node}"
    if not _is_due(context, key):
        return
    with FileLock(config.state_dir, key) as lock:
        if lock.try_acquire() and _is_due(context, key):
            recover(context)
            # Nodes that were started together must not ask together for ever.
            seconds = LOOK_AGAIN_SECONDS * context.random.uniform(0.75, 1.25)
            context.store.remember(key, f"{seconds:.0f}")


def _is_due(context: Context, key: str) -> bool:
    """Whether lost ports were never looked for, or as long ago as was drawn then (seconds)."""
    drawn = context.store.fact(key) or ""
    return not drawn.isdigit() or context.store.fact(key, float(drawn)) is None

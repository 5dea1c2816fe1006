"""Ports of ours that have no lease, in modes whose leases have ports of their own: when they are
looked for, and how they get leases again."""

from __future__ import annotations

from collections.abc import Callable

from neutron_cni.ipam.lock import FileLock
from neutron_cni.ipam.modes import marks, reservations, unmanaged
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.subnets import read_pod_network
from neutron_cni.openstack.errors import Forbidden
from neutron_cni.openstack.types import Port
from neutron_cni.values.errors import CniError, Code

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


def recover_lost(context: Context, is_of_mode: Callable[[Port], bool]) -> None:
    """Give a lease to each of this node's ports of a mode that has none.

    One whose network or subnet this project can't see any more is passed over, as it must not keep
    the others from theirs: `neutron-cni leases` names it, and it is tried again with the next look.
    Raises CniError where Neutron can't be asked.
    """
    ports = [port for port in reservations.of_this_node(context) if is_of_mode(port)]
    nonces = {record.nonce for record in context.store.all()}
    for port in reservations.lost(ports, nonces):
        nic_mac = port.mac if marks.is_nic(port) else ""
        try:
            network = read_pod_network(context.neutron, port.network_id)
            reservations.recover(context, port, network, port.id, nic_mac)
            unmanaged.announce(str(context.store.path.parent), nic_mac)
        except CniError as error:
            if not isinstance(error, Forbidden) and error.code != Code.NOT_FOUND:
                raise


def _is_due(context: Context, key: str) -> bool:
    """Whether lost ports were never looked for, or as long ago as was drawn then (seconds)."""
    drawn = context.store.fact(key) or ""
    return not drawn.isdigit() or context.store.fact(key, float(drawn)) is None

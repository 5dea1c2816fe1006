"""One anchor made right: the mode's `settle`, with the cloud connected and errors delivered.

Whatever talks to Neutron is imported inside the functions: a process whose request another one
serves never pays for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from neutron_cni.ipam.claim import install_id
from neutron_cni.ipam.lock import OWN_PORT, FileLock
from neutron_cni.store import Record, State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from neutron_cni.ipam.modes.context import Context

LITTLE_LEFT = 10.0
"""Seconds: a call that was refused for now is not tried again if the pause would take longer."""


def anchor_for(config: IpamConfig, token: str) -> str:
    """The queue and lock that a request belongs to."""
    cloud, file = config.cloud or "", config.clouds_file or ""
    if config.mode is Mode.PORT:
        return f"{cloud}|{file}{OWN_PORT}{token}"
    port = config.port_id or config.host_interface or "default-route"
    return f"{cloud}|{file}|{port}"


def settle_anchor(store: Store, anchor: str, deadline: Deadline) -> None:
    """Serve everybody who waits under `anchor`, and give back what is due.

    Call it with the anchor's lock held. Errors of the cloud are delivered to those who wait (each
    finds its own in the store); where nobody waits, the first is raised.
    """
    first: CniError | None = None
    for configs in _configs_by_mode(store, anchor):
        try:
            settle_mode(connect(store, configs, anchor, deadline))
        except CniError as error:
            if deadline.left <= LITTLE_LEFT:
                # With more time it might have gone well: the next holder of the lock goes on.
                raise
            first = first or error
            _deliver(store, anchor, configs[-1].mode, error)
    if first is not None and not _somebody_waited(store, anchor):
        raise first


def _configs_by_mode(store: Store, anchor: str) -> list[tuple[IpamConfig, ...]]:
    """For each mode in the queue the configurations of its requests, that of the newest last."""
    found: dict[Mode, dict[IpamConfig, None]] = {}
    for record in sorted(store.queue(anchor), key=lambda item: (item.created, item.id)):
        configs = found.setdefault(record.config.mode, {})
        configs.pop(record.config, None)
        configs[record.config] = None
    return [tuple(configs) for configs in found.values()]


def connect(
    store: Store, configs: Sequence[IpamConfig], anchor: str, deadline: Deadline
) -> Context:
    """Everything a mode needs to serve the networks with these configurations, the newest last.

    Raises Unauthorized when clouds.yaml is of no use.
    """
    from neutron_cni.ipam import node
    from neutron_cni.ipam.modes.context import Context
    from neutron_cni.openstack.neutron import Neutron

    config = configs[-1]
    return Context(
        store=store,
        neutron=Neutron.connect(config.cloud, config.clouds_file, deadline),
        configs=tuple(configs),
        anchor=anchor,
        install=_install(store, config),
        deadline=deadline,
        uplink=node.uplink,
        namespace_with=node.namespace_with,
        random=Random(),
    )


def _install(store: Store, config: IpamConfig) -> str:
    """Who we are in Neutron's tags: kept, so that a node may change its name."""
    from neutron_cni.ipam import node

    known = store.fact("install")
    if known is None:
        known = install_id(node.name(config), config.state_dir)
        store.remember("install", known)
    return known


def settle_mode(context: Context) -> None:
    """Serve one mode of one anchor, under its lock. Raises CniError."""
    from neutron_cni.ipam.modes import address_pairs, fixed_ips, port

    if context.config.mode is Mode.FIXED_IPS:
        fixed_ips.settle(context)
    elif context.config.mode is Mode.ADDRESS_PAIRS:
        address_pairs.settle(context)
    else:
        _adopt_own_ports_once(context)
        port.settle(context)


def _adopt_own_ports_once(context: Context) -> None:
    """A store that is new (or was set aside) first takes over the ports that it lost."""
    from neutron_cni.ipam.modes import port

    config = context.config
    key = f"adopted|{config.cloud or ''}|{config.clouds_file or ''}"
    if config.node:
        # A network with a node name of its own has other tags, and its ports are looked for too.
        key += f"|{config.node}"
    if context.store.fact(key) is not None:
        return
    with FileLock(context.config.state_dir, key) as lock:
        if lock.try_acquire() and context.store.fact(key) is None:
            port.adopt_all(context)
            context.store.remember(key, "yes")


def _deliver(store: Store, anchor: str, mode: Mode, error: CniError) -> None:
    """Those who wait get the error; what may have been changed for them is watched and undone."""
    records = [r for r in store.queue(anchor) if r.config.mode is mode and r.owner_alive]
    store.fail({r.id: error for r in records if r.state is State.WANTED})
    store.abandon({r.id: error for r in records if r.state is State.INTENDED})


def _somebody_waited(store: Store, anchor: str) -> bool:
    return any(r.failure is not None and r.owner_alive for r in store.queue(anchor))


def differences(store: Store, record: Record, deadline: Deadline) -> list[str]:
    """What differs between a held lease and Neutron, in sentences. For CHECK."""
    from neutron_cni.ipam import locate
    from neutron_cni.ipam.modes.address_pairs import pair_addresses
    from neutron_cni.ipam.modes.fixed_ips_recording import is_vms_own
    from neutron_cni.openstack.errors import NotFound

    context = connect(store, [record.config], record.anchor, deadline)
    found: list[str] = []
    if record.config.mode is not Mode.PORT:
        port = locate.vm_port(record.config, store, context.neutron, context.uplink)
        fixed = record.config.mode is Mode.FIXED_IPS
        present = port.addresses if fixed else pair_addresses(port)
        where = "fixed IPs" if fixed else "allowed address pairs"
        found += [
            f"{item.address} is not among the {where} of the VM's port {port.id}"
            for item in record.addresses
            if item.address not in present
        ]
        found += [
            f"{item.address} is on the VM's port {port.id}, but not for a pod"
            for item in record.addresses
            if fixed and is_vms_own(item, record.token, context.install, port)
        ]
    if record.config.mode is not Mode.FIXED_IPS:
        for item in record.addresses:
            try:
                addresses = context.neutron.port(item.port_id).addresses
            except NotFound:
                addresses = frozenset()
            if item.address not in addresses:
                found.append(f"port {item.port_id}, which reserved {item.address}, has it no more")
    return found


def check_code(differing: list[str]) -> CniError | None:
    """CHECK's error for what differs, None when nothing does."""
    if not differing:
        return None
    return CniError(Code.CHECK_FAILED, "; ".join(differing), "`neutron-cni leases` shows more")

"""One anchor made right: the mode's `settle`, with the cloud connected and errors delivered.

Whatever talks to Neutron is imported inside the functions: a process whose request another one
serves never pays for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from random import Random

from neutron_cni.ipam.claim import install_id
from neutron_cni.ipam.modes import MODES
from neutron_cni.store import Record, State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from neutron_cni.ipam.modes.context import Context
    from neutron_cni.ipam.modes.contract import Finding, ModePage

LITTLE_LEFT = 10.0
"""Seconds: a call that was refused for now is not tried again if the pause would take longer."""


def settle_anchor(store: Store, anchor: str, deadline: Deadline, caller: int = 0) -> None:
    """Serve everybody who waits under `anchor`, and give back what is due. `caller`: see `Context`.

    Call it with the anchor's lock held. Errors of the cloud are delivered to those who wait (each
    finds its own in the store); where nobody waits, the first is raised.
    """
    first: CniError | None = None
    mark, found = store.refill_mark(anchor), _configs_by_mode(store, anchor)
    if mark is not None and not found:
        # No lease and no network: there is no cloud to ask for NICs, and none are wanted.
        store.have_refilled(anchor, mark)
    for configs in found:
        mode = configs[-1].mode
        try:
            with connected(store, configs, anchor, deadline, caller) as context:
                MODES[mode].page.settle(context)
        except CniError as error:
            if deadline.left <= LITTLE_LEFT:
                # With more time it might have gone well: the next holder of the lock goes on.
                raise
            first = first or error
            _deliver(store, anchor, mode, error)
    if first is not None and not _somebody_waited(store, anchor):
        raise first


def _configs_by_mode(store: Store, anchor: str) -> list[tuple[IpamConfig, ...]]:
    """For each mode in the queue the configurations of its requests, that of the newest last; those
    of networks for which NICs are kept are there in any case."""
    found: dict[Mode, dict[IpamConfig, None]] = {}
    for pool in store.pools(anchor):
        found.setdefault(pool.config.mode, {})[pool.config] = None
    for record in sorted(store.queue(anchor), key=lambda item: (item.created, item.id)):
        configs = found.setdefault(record.config.mode, {})
        configs.pop(record.config, None)
        configs[record.config] = None
    return [tuple(configs) for configs in found.values()]


@contextmanager
def connected(
    store: Store,
    configs: Sequence[IpamConfig],
    anchor: str,
    deadline: Deadline,
    caller: int = 0,
) -> Iterator[Context]:
    """Everything a mode needs to serve the networks with these configurations, the newest last.

    Its connections to the cloud end with it. Raises Unauthorized when clouds.yaml is of no use.
    """
    from neutron_cni.ipam import node
    from neutron_cni.ipam.modes.context import Context
    from neutron_cni.openstack.neutron import Neutron

    config = configs[-1]
    made = Neutron.connect(config.cloud, config.clouds_file, deadline, config.state_dir)
    with closing(made) as neutron:
        yield Context(
            store=store,
            neutron=neutron,
            configs=tuple(configs),
            anchor=anchor,
            install=_install(store, config),
            deadline=deadline,
            uplink=node.uplink,
            namespace_with=node.namespace_with,
            random=Random(),
            waiting_nics=node.waiting_nics,
            caller=caller,
        )


def _install(store: Store, config: IpamConfig) -> str:
    """This installation's id in Neutron's tags: kept, so that a node may change its name."""
    from neutron_cni.ipam import node

    known = store.fact("install")
    if known is None:
        known = install_id(node.name(config), config.state_dir)
        store.remember("install", known)
    return known


def _deliver(store: Store, anchor: str, mode: Mode, error: CniError) -> None:
    """Give the error to those who wait. What may have been changed for them is released."""
    records = [r for r in store.queue(anchor) if r.config.mode is mode and r.owner_alive]
    store.fail({r.id: error for r in records if r.state is State.WANTED})
    store.abandon({r.id: error for r in records if r.state is State.INTENDED})


def _somebody_waited(store: Store, anchor: str) -> bool:
    """Whether a call that lives takes one of the errors; for a NIC for a pod to come none waits."""
    failed = [r for r in store.queue(anchor) if r.failure is not None and not r.is_warm]
    return any(record.owner_alive for record in failed)


def differences(store: Store, record: Record, deadline: Deadline, twice: bool = True) -> list[str]:
    """What differs between a held lease and Neutron, in sentences. Raises CniError.

    `twice`: only what a second look shows as well, some seconds later: for CHECK, after which a
    runtime may replace the pod.
    """
    page = MODES[record.config.mode].page
    with connected(store, [record.config], record.anchor, deadline) as context:
        found = page.judge([record], page.look(context, [record]))
        if found and twice:
            found = confirmed(page, context, [record], found)
    return [item.for_check for item in found]


def confirmed(
    page: ModePage, context: Context, leases: Sequence[Record], found: list[Finding]
) -> list[Finding]:
    """Of these findings about held leases those that a second look shows too, by another way.

    Raises CniError TRY_AGAIN where there is no time for one.
    """
    from neutron_cni.ipam import absence

    if not absence.pause(context.deadline):
        raise CniError(
            Code.TRY_AGAIN,
            f"there is no time for a second look, which is to confirm: {found[0].text}",
            "Neutron answers slowly; a longer `timeout` may help",
        )
    again = replace(context, neutron=context.neutron.by_list())
    second = {(item.record_id, item.text) for item in page.judge(leases, page.look(again, leases))}
    return [item for item in found if (item.record_id, item.text) in second]


def other_holders(store: Store, record: Record, deadline: Deadline) -> list[str]:
    """Sentences that name who has the addresses of a held lease in its place. Raises CniError."""
    from neutron_cni.ipam.modes import marks

    ours = {item.port_id for item in record.addresses}
    with connected(store, [record.config], record.anchor, deadline) as context:
        found = [
            (item, port)
            for item in record.addresses
            for port in context.neutron.ports_with_address(item.address)
        ]
    return [
        f"{item.address} belongs to port {port.id} ({port.device_owner or port.name or 'unnamed'})"
        for item, port in found
        if port.id not in ours
        and marks.nonce_of(port) != record.nonce
        and (item.subnet_id, item.address) in {(f.subnet_id, f.address) for f in port.fixed_ips}
    ]

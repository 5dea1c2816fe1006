"""NICs that are attached before a pod asks, so that its ADD asks no cloud (`warmNICs`).

Whoever settles the NICs without a pod that waits (the sweeper) sees to them: those that nobody
wants go, what is missing is attached, one after another, and stops for any pod that comes. The
port of a NIC that was handed out still says by its tags whom it was made for; that is put right
here, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from uuid import uuid4

from neutron_cni.ipam.modes import as_made, reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.nics import Nics
from neutron_cni.openstack.errors import CloudError, NotFound, Unauthorized, Unreachable
from neutron_cni.store import Record, State, Wish
from neutron_cni.store.record import process_identity
from neutron_cni.store.warm import Pool, new_token
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError

APPEARS_SECONDS = 60.0
"""So long after Nova's answer a NIC may take to be seen on the node."""

ATTACH_SECONDS = 15.0
"""With less time than that no NIC is begun: half made, it would have to be given back."""

Give = Callable[[Record], None]
"""Makes the row's port, has it attached, and the row `ready`; see `nova_interface`."""


def give_up_half_made(context: Context) -> None:
    """Release the NICs that a process which died, or failed, was attaching for pods to come: who
    has the lock knows that nobody is at it any more."""
    for record in context.records():
        if record.is_warm and record.state is State.INTENDED:
            context.store.release(record.id, 0.0)


def take_back(context: Context, nics: Nics, over: list[int]) -> list[int]:
    """Of these leases, which are at their end, those whose NICs have to go. The others' NICs came
    home as they were, are wanted, and wait for another pod from now on."""
    pools = context.store.pools(context.anchor)
    left = [record for record in context.records() if record.id in over]
    if not pools or not left:
        return over
    clean: set[str] = set()
    with suppress(CniError):  # Nobody's ADD fails as the kernel does not tell; these NICs go then.
        clean = {mac for mac, is_clean in context.waiting_nics().items() if is_clean}
    going = []
    for record in left:
        pool = next((pool for pool in pools if pool.serves(record)), None)
        wanted = pool is not None and _lacking(context, pool) > 0
        if wanted and record.lease and record.lease.nic_mac in clean and _is_sound(nics, record):
            context.store.keep_warm(record.id, time.time() + record.config.quarantine)
        else:
            going.append(record.id)
    return going


def _is_sound(nics: Nics, record: Record) -> bool:
    """Whether this VM has the lease's port as a NIC, with the lease's addresses, and nobody gave
    the port anything for its pod that the next one is not to have.

    Raises CniError where Neutron can't be asked at all.
    """
    assert record.lease is not None, "only a lease has a NIC"
    try:
        port = nics.context.neutron.port(record.lease.port_id)
    except (Unreachable, Unauthorized):
        raise
    except CloudError:
        return False  # A port that can't be read is not to fail the ADDs of others.
    addresses = {item.address for item in record.addresses}
    if port.device_id != nics.server or port.addresses != addresses:
        return False
    return as_made.is_as_made(nics.context.neutron, port, record.config)


def see_to(context: Context, nics: Nics, give: Give, somebody_waits: Callable[[], bool]) -> None:
    """Have as many NICs ready as the networks want, unless somebody waits for one meanwhile, or
    there is too little time left for another: the next sweep goes on.

    Raises CniError, after which the next sweep goes on; what the cloud refused for certain is not
    tried again before something changes.
    """
    store = context.store
    mark = store.refill_mark(context.anchor)
    _name_again(context)
    pools = store.pools(context.anchor)
    store.release_warm(_superfluous(context, nics, pools))
    refusals: list[CniError] = []
    for pool in pools:
        while _lacking(context, pool) > 0:
            if somebody_waits() or context.deadline.left < ATTACH_SECONDS:
                return
            made = _attach_one(context, pool, give)
            if made is not None and made.failure is not None:
                # Another network may have room.
                refusals.append(made.failure.to_error())
                break
            if made is None or made.state is not State.READY:
                return
    if mark is not None:
        store.have_refilled(context.anchor, mark)
    if refusals:
        raise refusals[0]


def _attach_one(context: Context, pool: Pool, give: Give) -> Record | None:
    """What became of the row of one NIC more; None where it is gone. Raises CniError as `give`."""
    store = context.store
    record = store.want(_request(pool))
    try:
        give(record)
    finally:
        found = store.get(record.id)
        if found is not None:
            store.drop([found])
    return found


def make_way(context: Context, nics: Nics, wish: Record, take: Give) -> None:
    """For a pod that none of the NICs that are ready serves: have those taken away that have an
    address which it asks for, or else one, if the VM has no room for another."""
    ready, asked = _ready(context), set(wish.wish.requested)
    going = [r.id for r in ready if asked & {item.address for item in r.addresses}]
    if ready and not going and nics.limit().reached:
        going = [ready[0].id]
    context.store.release_warm(going)
    for record_id in going:
        found = context.store.get(record_id)
        if found is not None and found.state is State.RELEASED:
            take(found)


def count(context: Context) -> int:
    """How many NICs are ready."""
    return len(_ready(context))


def _ready(context: Context) -> list[Record]:
    return [record for record in context.records() if record.state is State.READY]


def _lacking(context: Context, pool: Pool) -> int:
    there = sum(
        record.is_warm and record.state in (State.INTENDED, State.READY) and pool.serves(record)
        for record in context.records()
    )
    return pool.config.warm_nics - there


def _superfluous(context: Context, nics: Nics, pools: list[Pool]) -> list[int]:
    """Rows of NICs that are ready, and that no network wants, or that no pod can get: somebody took
    it away, or uses it for something else."""
    ready = _ready(context)
    if not ready:
        return []
    usable: Collection[str] = {record.lease.nic_mac for record in ready if record.lease}
    with suppress(CniError):
        usable = context.waiting_nics()
    left = {pool.network: pool.config.warm_nics for pool in pools}
    found = []
    for record in ready:
        wanted = any(pool.serves(record) for pool in pools) and left[record.network] > 0
        is_late = record.changed < time.time() - APPEARS_SECONDS
        is_lost = is_late and record.lease is not None and record.lease.nic_mac not in usable
        if wanted and not is_lost and nics.has(record.addresses[0].port_id):
            left[record.network] -= 1
        else:
            found.append(record.id)
    return found


def _name_again(context: Context) -> None:
    """Have the tags of ports whose NICs changed hands say who has them now; another cloud's are for
    whoever is connected to that one."""
    for nonce, how in context.store.renamed().items():
        record = next((r for r in context.store.all() if r.nonce == nonce), None)
        if record is not None and record.anchor != context.anchor:
            continue
        if record is not None and record.addresses:
            with suppress(NotFound):
                port = context.neutron.port(record.addresses[0].port_id)
                reserving_port.tag_again(context, record, port)
        context.store.have_renamed(nonce, how)


def _request(pool: Pool) -> Record:
    now = time.time()
    return Record(
        network=pool.network,
        attachment=Attachment("", "", ""),
        token=new_token(),
        nonce=uuid4().hex,
        pod=PodRef(),
        config=pool.config,
        anchor=pool.anchor,
        state=State.WANTED,
        wish=Wish(),
        owner=process_identity(os.getpid()),
        created=now,
        changed=now,
    )

"""A repeated ADD: the lease is held already, so Neutron is asked whether it still has the address.

A runtime repeats an ADD whose answer it lost, as a rule because it crashed. Meanwhile somebody may
have taken the address off the port, or deleted the port that reserved it; then it is put back
before the answer. While Neutron can't be asked, the answer is as before: nothing says that the
address is gone.
"""

from __future__ import annotations

from neutron_cni.ipam import settling
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.pauses import Pauses
from neutron_cni.store import Record, State, Store
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease

LOOK_SECONDS = 10.0
"""How long an answer that is known already waits for Neutron to confirm it."""


def confirmed(store: Store, record: Record, request: IpamRequest, pauses: Pauses) -> Lease:
    """The lease that is held, once Neutron has what it stands for. Raises CniError.

    TRY_AGAIN where it could not be put back now: it stays held, as a pod may be using it. CONFLICT
    where the address is somebody else's: then it is released. So it is where the mode puts nothing
    back, after a second look.
    """
    assert record.lease is not None
    try:
        look_deadline = request.deadline.at_most(LOOK_SECONDS)
        missing = settling.differences(store, record, look_deadline, twice=False)
    except CniError as error:
        request.note(f"not compared with Neutron: {error}")
        return record.lease
    if missing:
        with anchor_lock(request.config.state_dir, record.anchor) as lock:
            while not lock.try_acquire():
                doing = f"waiting to put back the address of {record}"
                pauses.wait(request.deadline.require(doing))
            settling.settle_anchor(store, record.anchor, request.deadline, record.id)
        record = _still_held(store, record)
        mends = MODES[record.config.mode].mends
        missing = settling.differences(store, record, request.deadline, twice=not mends)
    if missing:
        raise _in_vain(store, record, request, missing)
    lease = _still_held(store, record).lease
    assert lease is not None
    return lease


def _still_held(store: Store, record: Record) -> Record:
    """The record as it is now; raises CniError TRY_AGAIN where a DEL came meanwhile."""
    now = store.get(record.id)
    if now is None or now.state is not State.HELD:
        raise CniError(
            Code.TRY_AGAIN,
            "the container was deleted while its address was being confirmed",
            "a DEL or GC for it came while ADD was running",
        )
    return now


def _in_vain(store: Store, record: Record, request: IpamRequest, missing: list[str]) -> CniError:
    """The error for a lease whose address could not be put back; released if it is another's."""
    from neutron_cni.ipam.modes.reservations import why_not_put_back

    if not MODES[record.config.mode].mends:
        store.release(record.id, 0.0)
        return CniError(
            Code.TRY_AGAIN,
            f"{'; '.join(missing)}, and nothing gives it back to the pod",
            "the next ADD gets another one",
        )
    others = settling.other_holders(store, record, request.deadline)
    if not others:
        return CniError(
            Code.TRY_AGAIN,
            f"{'; '.join(missing)}, and it could not be put back",
            why_not_put_back(store, record)
            or "a port that this project can't see may have the address: then delete the pod",
        )
    store.release(record.id, record.config.rest)
    return CniError(
        Code.CONFLICT,
        f"{'; '.join(others)}: it was taken off {record}'s port and given away",
        "the next ADD gets another address",
    )

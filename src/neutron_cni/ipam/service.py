"""`cni-ipam-neutron` itself: requests are written ahead, whoever has the lock serves them all.

Sequence of ADD: write the request into the store; until it is served, try the anchor's lock;
whoever gets it settles the whole queue in one go (modes/). Sequence of DEL: one local transaction;
Neutron is asked later, by the next holder of the lock or by the sweeper. So a DEL never waits for a
cloud, and of fifty ADDs one talks to Neutron.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from uuid import uuid4

from neutron_cni.ipam import repeated, settling
from neutron_cni.ipam.announcing import announce_again
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.passing import await_network
from neutron_cni.ipam.pauses import Pauses
from neutron_cni.ipam.pools import note_pool
from neutron_cni.netlink.plan import Announcement
from neutron_cni.store import Record, State, Store, Wish
from neutron_cni.store.record import process_identity
from neutron_cni.store.sandbox import inode_of, is_gone, own_view
from neutron_cni.store.schema import BUSY_SECONDS
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease


class NeutronIpam:
    """See `Ipam`. The two things that differ between hosts are given to it.

    `pauses` makes the pauses of one call that waits for another process to serve its request.
    `do_later` sees to it that somebody does what is due in the store of a state folder (a path):
    gives addresses back to Neutron, announces pods once more. It never raises.
    """

    def __init__(self, pauses: Callable[[], Pauses], do_later: Callable[[str], None]) -> None:
        self._pauses = pauses
        self._do_later = do_later
        self._taken: set[str] = set()
        """Nonces of the leases that this object took: no earlier call can have attached them."""

    def acquire(self, request: IpamRequest) -> Lease:
        """See `Ipam.acquire`."""
        with _opened(request.config, request.deadline) as store:
            _note_view(store)
            note_pool(store, request.network, request.config)
            call = object()
            record, is_new = _want(store, _wish(request), call)
            is_repeated = not is_new and record.state is State.HELD and record.lease is not None
            try:
                if is_repeated:
                    return repeated.confirmed(store, record, request, self._pauses())
                lease = _served(store, record, request, self._pauses())
                self._taken.add(record.nonce)
                return lease
            except BaseException:
                # Of a repeated ADD a pod may be using the address: DEL or GC gives it up.
                if not is_repeated:
                    _give_up(store, record, call)
                raise
            finally:
                _forget_call(record, call)
                # Also after success: whoever should have done it may have been killed.
                with suppress(CniError):
                    if store.due(time.time()):
                        self._do_later(request.config.state_dir)

    def lookup(self, request: IpamRequest) -> Lease | None:
        """See `Ipam.lookup`."""
        with _opened(request.config, request.deadline) as store:
            record = store.live(request.network, request.attachment)
        return record.lease if record is not None and record.state is State.HELD else None

    def attached(self, request: IpamRequest, sent: Sequence[Announcement]) -> Lease | None:
        """See `Ipam.attached`."""
        with _opened(request.config, request.deadline) as store:
            record = store.live(request.network, request.attachment)
            if record is None or record.state is not State.HELD:
                return None
            with suppress(CniError):  # The pod is no worse off than without.
                announce_again(store, record, sent)
        if sent:
            self._do_later(request.config.state_dir)
        return record.lease

    def await_network(
        self, request: IpamRequest, lease: Lease, ask: Callable[[Lease, Deadline], bool]
    ) -> None:
        """See `Ipam.await_network`."""
        await_network(request, lease, ask)

    def release(self, request: IpamRequest, used: bool = True) -> None:
        """See `Ipam.release`."""
        with _opened(request.config, request.deadline) as store:
            record = store.live(request.network, request.attachment)
            if record is not None:
                rests = used or record.nonce not in self._taken
                store.release(record.id, record.config.rest if rests else 0.0)
            waiting = bool(store.due(time.time()))
        if waiting:
            self._do_later(request.config.state_dir)

    def verify(self, request: IpamRequest) -> list[str]:
        """See `Ipam.verify`."""
        with _opened(request.config, request.deadline) as store:
            record = store.live(request.network, request.attachment)
            if record is None or record.state is not State.HELD:
                return ["the store has no lease for this attachment"]
            return settling.differences(store, record, request.deadline)

    def status(self, config: IpamConfig, deadline: Deadline) -> list[str]:
        """See `Ipam.status`."""
        from neutron_cni.ipam.status import status

        return status(config, deadline)

    def all_held(self, network: str, config: IpamConfig, deadline: Deadline) -> list[Lease]:
        """See `Ipam.all_held`."""
        # It is for STATUS, whose own answer is to come in time also while the store is locked.
        with _opened(config, deadline.at_most(1.0)) as store:
            return [
                record.lease
                for record in store.all()
                if record.network == network and record.state is State.HELD and record.lease
            ]

    def collect(
        self, network: str, config: IpamConfig, keep: Collection[Attachment], deadline: Deadline
    ) -> None:
        """See `Ipam.collect`. Requests in flight are left alone: their ADD is not over. So is what
        was attached by hand and lives."""
        tokens = {attachment.token(network) for attachment in keep}
        with _opened(config, deadline) as store:
            note_pool(store, network, config)
            for record in store.all():
                if record.token in tokens or not record.abandoned_or_held:
                    continue
                if record.attachment.by_hand and not _has_ended(record):
                    continue
                if record.network == network or _recovered_and_gone(record):
                    store.release(record.id, record.config.rest)
            waiting = bool(store.due(time.time()))
        if waiting:
            self._do_later(config.state_dir)


def _opened(config: IpamConfig, deadline: Deadline) -> Store:
    """The store, for whose other users is waited as long as the call lasts, but a second at least:
    an error, too, is to be written."""
    return Store(config.state_dir, min(BUSY_SECONDS, max(1.0, deadline.left)))


VIEW = "view"
"""The fact that says which namespaces the runtime has us run in: there all pods can be seen."""


def _note_view(store: Store) -> None:
    view = own_view()
    if store.fact(VIEW) != view:
        store.remember(VIEW, view)


def _recovered_and_gone(record: Record) -> bool:
    """Whether it is a recovered lease, whose network is not known, of a namespace that ended.

    While its namespace lives it may be of another network, whose GC is to judge it.
    """
    return not record.network and _has_ended(record)


def _has_ended(record: Record) -> bool:
    """Whether the namespace has. One that an operator attached no runtime knows, so while it lives
    its lease is not for a runtime to release."""
    return is_gone(record.attachment.netns, record.netns_inode)


def _wish(request: IpamRequest) -> Record:
    now = time.time()
    token = request.attachment.token(request.network)
    return Record(
        network=request.network,
        attachment=request.attachment,
        token=token,
        nonce=uuid4().hex,
        pod=request.pod,
        config=request.config,
        anchor=MODES[request.config.mode].anchor(request.config, token),
        state=State.WANTED,
        wish=Wish(request.requested),
        owner=process_identity(os.getpid()),
        netns_inode=inode_of(request.attachment.netns),
        created=now,
        changed=now,
    )


def _served(store: Store, wish: Record, request: IpamRequest, pauses: Pauses) -> Lease:
    """Wait until this or another process has served the request; the lease. Raises CniError."""
    lock = anchor_lock(request.config.state_dir, wish.anchor)
    seen = -1
    while True:
        version = store.version()
        lease = _outcome(store.get(wish.id)) if version != seen else None
        if lease is not None:
            return lease
        if lock.try_acquire():
            with lock:
                lease = _settled(store, wish, request.deadline)
            if lease is not None:
                return lease
            seen = -1
            continue
        seen = version
        pauses.wait(request.deadline.require(f"waiting for the address of {wish}"))


def _settled(store: Store, wish: Record, deadline: Deadline) -> Lease | None:
    """Serve the queue with our request in it.

    Returns the lease where it was had although something else failed, otherwise None: the store
    tells. Raises CniError.
    """
    try:
        settling.settle_anchor(store, wish.anchor, deadline, wish.id)
    except CniError:
        record = store.get(wish.id)
        if record is None or record.state is not State.HELD:
            raise
        return record.lease
    return None


def _outcome(record: Record | None) -> Lease | None:
    """The lease, None while it is not decided; raises what went wrong."""
    if record is not None and record.failure is not None:
        raise record.failure.to_error()
    if record is None or record.state in (State.COOLING, State.RELEASED):
        raise CniError(
            Code.TRY_AGAIN,
            "the container was deleted while its address was being taken",
            "a DEL or GC for it came while ADD was running",
        )
    return record.lease if record.state is State.HELD else None


_LATEST_CALLS: dict[str, object] = {}
"""By an attachment's token the call of this process that asked for its lease last: the store's
`owner` tells processes apart, but one process does several calls of a burst (`hosts.server`). Not
by the lease's nonce, which is another one as soon as it is handed a NIC."""
_ONE_AT_A_TIME = allocate_lock()


def _want(store: Store, wish: Record, call: object) -> tuple[Record, bool]:
    """`Store.want`; from now on the lease is this call's to give up.

    Also whether it is held since now, as a NIC was ready for it.
    """
    handed_out = False
    with _ONE_AT_A_TIME:
        record = store.want(wish)
        if record.state is State.WANTED and wish.config.warm_nics and not record.wish.requested:
            from neutron_cni.ipam import node

            with suppress(CniError):  # It gets a NIC as if none were ready.
                handed_out = store.hand_out(record.id, node.waiting_nics())
            record = store.get(record.id) or record
        _LATEST_CALLS[record.token] = call
        return record, handed_out


def _give_up(store: Store, record: Record, call: object) -> None:
    """ADD fails, or is being ended: no pod has the address, so it need not rest.

    Unless the runtime has asked again meanwhile: the lease is that other call's then.
    """
    with _ONE_AT_A_TIME:
        if _LATEST_CALLS.get(record.token) is call:
            store.release(record.id, 0.0, owner=process_identity(os.getpid()))


def _forget_call(record: Record, call: object) -> None:
    with _ONE_AT_A_TIME:
        if _LATEST_CALLS.get(record.token) is call:
            del _LATEST_CALLS[record.token]

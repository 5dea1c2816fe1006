"""Where a plugin gets its addresses from: our own IPAM in this process, the executable of a third
party's IPAM plugin, or, for a chained plugin, the result of the plugin before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from neutron_cni.cni.document import invalid
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import IpamChoice, Request
from neutron_cni.ipam.api import Ipam, IpamRequest
from neutron_cni.netlink.plan import Announcement
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease

ROLLBACK_SECONDS = 10.0
"""Seconds that undoing a failed ADD may take, beyond the deadline that ADD may have missed."""


_NOT_TO_BE_ASKED = (Code.TRY_AGAIN, Code.CREDENTIALS)
"""Errors that say nothing about the pod, only that Neutron could not be asked."""

Ask = Callable[[Lease, Deadline], bool]


class LeaseSource(Protocol):
    """The IPAM of one request, as the engine sees it. Every method raises CniError only."""

    repeatable: bool
    """Whether a repeated `acquire` gives the same lease; CNI does not ask that of IPAM plugins."""

    def acquire(self, request: Request, deadline: Deadline) -> Lease:
        """Get the addresses for the attachment. If it raises, no address stays reserved."""

    def held(self, request: Request, deadline: Deadline) -> Lease | None:
        """The lease as this node knows it, None if it knows none. Asks no cloud and no plugin."""

    def attached(
        self, request: Request, deadline: Deadline, sent: Sequence[Announcement]
    ) -> Lease | None:
        """The same, when the interface is there and has `sent` its announcements; these are sent
        again for some seconds where the lease is Neutron's."""

    def await_network(self, request: Request, deadline: Deadline, lease: Lease, ask: Ask) -> None:
        """Return when the pod's packets pass, if the configuration says that ADD waits for that.

        `ask`: see `DataPlane.await_network`."""

    def release(self, request: Request, deadline: Deadline, used: bool = True) -> None:
        """Give the addresses of the attachment back; one without addresses is fine.

        Not `used`: the addresses were on no link that was up, so they need not rest.
        """

    def verify(self, request: Request, deadline: Deadline) -> tuple[Lease, list[str]]:
        """The lease as it should be, and sentences that say what differs from it."""

    def status(self, request: Request, deadline: Deadline) -> None:
        """Return if an ADD could succeed now, else raise CniError."""

    def all_held(self, request: Request, deadline: Deadline) -> list[Lease]:
        """The leases of all pods of the network, as this node knows them; none if it can't know."""

    def collect(self, request: Request, deadline: Deadline) -> None:
        """Release what the network holds for attachments that are not in `request.valid`."""


class OwnIpam:
    """`cni-ipam-neutron`, called as a function in this process."""

    repeatable = True

    def __init__(self, ipam: Ipam, config: IpamConfig, note: Callable[[str], None]) -> None:
        self._ipam = ipam
        self._config = config
        self._note = note

    def acquire(self, request: Request, deadline: Deadline) -> Lease:
        """See `LeaseSource`."""
        return self._ipam.acquire(self._about(request, deadline))

    def held(self, request: Request, deadline: Deadline) -> Lease | None:
        """See `LeaseSource`."""
        return self._ipam.lookup(self._about(request, deadline))

    def attached(
        self, request: Request, deadline: Deadline, sent: Sequence[Announcement]
    ) -> Lease | None:
        """See `LeaseSource`."""
        return self._ipam.attached(self._about(request, deadline), sent)

    def await_network(self, request: Request, deadline: Deadline, lease: Lease, ask: Ask) -> None:
        """See `LeaseSource`."""
        self._ipam.await_network(self._about(request, deadline), lease, ask)

    def release(self, request: Request, deadline: Deadline, used: bool = True) -> None:
        """See `LeaseSource`."""
        self._ipam.release(self._about(request, deadline), used)

    def verify(self, request: Request, deadline: Deadline) -> tuple[Lease, list[str]]:
        """See `LeaseSource`."""
        lease = self.held(request, deadline)
        if lease is None:
            raise CniError(
                Code.CHECK_FAILED,
                "the store knows no addresses of this container",
                "the pod must be made anew; its addresses may be given to another",
            )
        try:
            return lease, self._ipam.verify(self._about(request, deadline))
        except CniError as error:
            if error.code not in _NOT_TO_BE_ASKED:
                raise
            # Runtimes replace a pod whose CHECK fails: a cloud that is down is no reason to.
            self._note(f"not compared with Neutron: {error}")
            return lease, []

    def status(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""
        for note in self._ipam.status(self._config, deadline):
            self._note(note)

    def all_held(self, request: Request, deadline: Deadline) -> list[Lease]:
        """See `LeaseSource`."""
        return self._ipam.all_held(request.network, self._config, deadline)

    def collect(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""
        self._ipam.collect(request.network, self._config, request.valid, deadline)

    def _about(self, request: Request, deadline: Deadline) -> IpamRequest:
        return IpamRequest(
            network=request.network,
            attachment=request.attachment,
            config=self._config,
            deadline=deadline,
            pod=request.pod,
            requested=request.requested,
            note=self._note,
        )


class DelegatedIpam:
    """A third party's IPAM plugin, executed (CNI SPEC, section 4).

    `cni.delegate` is imported only when it is called, as other calls need no `subprocess`.
    """

    repeatable = False

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def acquire(self, request: Request, deadline: Deadline) -> Lease:
        """See `LeaseSource`."""
        from neutron_cni.cni.delegate import delegate_add

        try:
            result = delegate_add(self._plugin, request.path, request.invocation, deadline)
            if not result.ips:
                raise CniError(Code.DELEGATE, f"the plugin {self._plugin} gave no address")
        except BaseException:
            # "If, on ADD, a delegated plugin fails, the upper plugin should execute again with
            # DEL before returning failure." An error of DEL is dropped: ADD's own is answered.
            with suppress(CniError):
                self.release(request, Deadline.after(ROLLBACK_SECONDS))
            raise
        return Lease.from_result(result)

    def held(self, request: Request, deadline: Deadline) -> Lease | None:
        """See `LeaseSource`. Only the result of ADD tells what a third party's plugin gave."""
        return _of_previous(request)

    def attached(
        self, request: Request, deadline: Deadline, sent: Sequence[Announcement]
    ) -> Lease | None:
        """See `LeaseSource`."""
        return self.held(request, deadline)

    def await_network(self, request: Request, deadline: Deadline, lease: Lease, ask: Ask) -> None:
        """See `LeaseSource`. What others' addresses wait for is not known."""

    def release(self, request: Request, deadline: Deadline, used: bool = True) -> None:
        """See `LeaseSource`."""
        self._call(Command.DEL, request, deadline)

    def verify(self, request: Request, deadline: Deadline) -> tuple[Lease, list[str]]:
        """See `LeaseSource`."""
        self._call(Command.CHECK, request, deadline)
        lease = self.held(request, deadline)
        if lease is None:
            raise CniError(Code.CHECK_FAILED, "prevResult has no addresses")
        return lease, []

    def status(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""
        self._call(Command.STATUS, request, deadline)

    def all_held(self, request: Request, deadline: Deadline) -> list[Lease]:
        """See `LeaseSource`. Only the results of ADD, which the runtime has, tell of them."""
        return []

    def collect(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""
        self._call(Command.GC, request, deadline)

    def _call(self, command: Command, request: Request, deadline: Deadline) -> None:
        from neutron_cni.cni.delegate import delegate

        delegate(command, self._plugin, request.path, request.invocation, deadline)


class PreviousResult:
    """The lease in an earlier plugin's result; the main plugin holds it and releases it."""

    repeatable = True

    def acquire(self, request: Request, deadline: Deadline) -> Lease:
        """See `LeaseSource`. Raises CniError INVALID_CONFIG if prevResult has no address."""
        lease = self.held(request, deadline)
        if lease is None:
            raise invalid("prevResult.ips", "is empty", "the plugin before must give an address")
        return lease

    def held(self, request: Request, deadline: Deadline) -> Lease | None:
        """See `LeaseSource`."""
        return _of_previous(request)

    def attached(
        self, request: Request, deadline: Deadline, sent: Sequence[Announcement]
    ) -> Lease | None:
        """See `LeaseSource`."""
        return self.held(request, deadline)

    def await_network(self, request: Request, deadline: Deadline, lease: Lease, ask: Ask) -> None:
        """See `LeaseSource`. What others' addresses wait for is not known."""

    def release(self, request: Request, deadline: Deadline, used: bool = True) -> None:
        """See `LeaseSource`."""

    def verify(self, request: Request, deadline: Deadline) -> tuple[Lease, list[str]]:
        """See `LeaseSource`."""
        return self.acquire(request, deadline), []

    def status(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""

    def all_held(self, request: Request, deadline: Deadline) -> list[Lease]:
        """See `LeaseSource`. Only the results of ADD, which the runtime has, tell of them."""
        return []

    def collect(self, request: Request, deadline: Deadline) -> None:
        """See `LeaseSource`."""


def lease_source(
    choice: IpamChoice | None, own: Callable[[], Ipam], note: Callable[[str], None]
) -> LeaseSource:
    """The source that the configuration names; without an `ipam` section it is prevResult.

    `own` makes our IPAM, and is called only if it is needed. `note` takes a line for the
    operator, which is no part of the answer.
    """
    if choice is None:
        return PreviousResult()
    return OwnIpam(own(), choice.own, note) if choice.own else DelegatedIpam(choice.type)


def _of_previous(request: Request) -> Lease | None:
    result = request.prev_result
    return Lease.from_result(result) if result and result.ips else None

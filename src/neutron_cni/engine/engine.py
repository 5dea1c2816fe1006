"""What ADD, DEL, CHECK, STATUS and GC do, for every plugin type and in whichever process.

Source: CNI SPEC, section 2 ("CNI operations") and section 4 ("Plugin Delegation").

The order of the steps guards against three races that no runtime can avoid when it dies. An ADD
that it gave up goes on while it sends DEL: so DEL detaches twice, and ADD looks for its lease
once more after attaching. An ADD whose answer was lost is sent again: so ADD completes what is
there. A DEL is sent again, or for what never was: so nothing that is missing is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from neutron_cni.cni.document import invalid
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import OWN_IPAM, Request
from neutron_cni.engine.lease_source import ROLLBACK_SECONDS, LeaseSource, lease_source
from neutron_cni.engine.parts import DataPlane, Parts
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.plugins import RECIPES, Kind
from neutron_cni.plugins.refusals import nic_for_nobody
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

LONGEST = {Command.STATUS: 10.0, Command.CHECK: 20.0}
"""The most seconds that a command may take. The kubelet does nothing else while it waits for either
of these, and takes the runtime for dead after 30."""
LEAST_SECONDS = 10.0
"""What a call has that nobody was there to do for most of its time: enough for one that works."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Carries out requests for any plugin type, with the parts that its host gives (`hosts`)."""

    parts: Parts

    def handle(self, request: Request, waited: float = 0.0) -> Result | None:
        """Carry `request` out: the result of ADD, None for other commands; raises CniError.

        `waited`: seconds of its time that are over already; it gets LEAST_SECONDS all the same.
        """
        seconds = min(request.timeout, LONGEST.get(request.command, inf))
        deadline = Deadline.after(max(seconds - waited, min(seconds, LEAST_SECONDS)))
        source = self._source(request)
        if RECIPES[request.plugin].kind is Kind.IPAM:
            return self._serve_ipam(request, source, deadline)
        plane = self.parts.data_plane(request)
        match request.command:
            case Command.ADD:
                return self._add(request, plane, source, deadline)
            case Command.DEL:
                lease = self._held(request, source, deadline)
                _all_of(lambda: plane.detach(lease), lambda: source.release(request, deadline))
                # An ADD that the runtime gave up may have attached between these two steps. An ADD
                # that attaches from now on finds that its lease is gone.
                plane.detach(lease)
            case Command.CHECK:
                from neutron_cni.engine.check import check

                check(request, plane, source, deadline)
            case Command.STATUS:
                plane.ready()
                self._bring_back(request, plane, source, deadline)
                source.status(request, deadline)
            case Command.GC:
                _all_of(plane.collect, lambda: source.collect(request, deadline))
        return None

    def _source(self, request: Request) -> LeaseSource:
        if request.ipam is not None:
            asked = RECIPES.get(request.ipam.type)
            serves_itself = RECIPES[request.plugin].kind is Kind.IPAM
            if (asked and asked.kind is not Kind.IPAM) or (serves_itself and not request.ipam.own):
                # A plugin that is its own IPAM plugin would execute itself without end.
                raise invalid("ipam.type", f"{request.ipam.type!r} is not allowed", f"{OWN_IPAM}")
        return lease_source(request.ipam, self.parts.own_ipam, self.parts.note)

    def _add(
        self, request: Request, plane: DataPlane, source: LeaseSource, deadline: Deadline
    ) -> Result:
        """ADD. What needs no cloud comes first, so that a wrong configuration costs no address."""
        chained = RECIPES[request.plugin].kind is Kind.CHAINED
        if chained and request.prev_result is None:
            raise invalid("prevResult", f"{request.plugin} can't be the first of `plugins`")
        if request.prev_result is not None and not chained:
            raise invalid("prevResult", f"{request.plugin} must be the first of `plugins`")
        if request.mac and chained:
            raise CniError(
                Code.UNSUPPORTED_FIELD,
                f"runtimeConfig.mac {request.mac!r}: {request.plugin} does not make the interface",
                "give the capability `mac` to the first plugin of `plugins` only",
            )
        if plane.inspect() and not source.repeatable:
            # An earlier ADD made the interface, but its answer was lost. This IPAM gives no lease
            # twice: a second ADD of it would fail, and the DEL after that would release the
            # address in use. So start afresh. The release comes first because it may fail, for
            # example if the IPAM plugin is not there; the interface is then left as it is.
            source.release(request, deadline)
            plane.detach(None)
        lease = source.acquire(request, deadline)
        try:
            deadline.require("getting an address")
            result = plane.attach(lease, deadline)
            source.await_network(request, deadline, lease, plane.await_network)
            if source.repeatable:
                _require_current(lease, source.attached(request, deadline, plane.announced))
            return result
        except _Overtaken:
            raise
        except BaseException:
            self._roll_back(request, lease, plane, source)
            raise

    def _roll_back(
        self, request: Request, lease: Lease, plane: DataPlane, source: LeaseSource
    ) -> None:
        """Undo a failed ADD. Its own error is to be answered, so an error here becomes a note."""
        limit = Deadline.after(ROLLBACK_SECONDS)
        try:
            _all_of(
                lambda: plane.detach(lease),
                lambda: source.release(request, limit, used=plane.exposed),
            )
        except Exception as error:
            self.parts.note(f"undoing a failed ADD: {error}; DEL or GC will finish it")

    def _bring_back(
        self, request: Request, plane: DataPlane, source: LeaseSource, deadline: Deadline
    ) -> None:
        """Have the node do again for its pods what somebody took away; an error becomes a note, as
        it is not what STATUS is asked for."""
        try:
            plane.bring_back(source.all_held(request, deadline))
        except CniError as error:
            self.parts.note(f"what pods need of the node can't be looked after: {error}")

    def _serve_ipam(
        self, request: Request, source: LeaseSource, deadline: Deadline
    ) -> Result | None:
        """Carry out a request to our IPAM as a plugin of its own, under another's main plugin."""
        own = request.own_ipam
        asks_now = request.command in (Command.ADD, Command.STATUS)
        if asks_now and own is not None and own.mode is Mode.NOVA_INTERFACE:
            raise nic_for_nobody("a third party's main plugin")
        match request.command:
            case Command.ADD:
                from neutron_cni.engine.second_default import without_second_default

                taken = self.parts.data_plane(request).defaults()
                lease = source.acquire(request, deadline)
                try:
                    result = without_second_default(lease, request.default_route, taken)
                    source.attached(request, deadline, _by_the_pod(request, lease))
                    return result
                except CniError:
                    source.release(request, Deadline.after(ROLLBACK_SECONDS), used=False)
                    raise
            case Command.DEL:
                source.release(request, deadline)
            case Command.CHECK:
                from neutron_cni.engine.check import check_lease

                check_lease(request, source, deadline)
            case Command.STATUS:
                source.status(request, deadline)
            case Command.GC:
                source.collect(request, deadline)
        return None

    def _held(self, request: Request, source: LeaseSource, deadline: Deadline) -> Lease | None:
        """The lease for DEL; None, with a note, if it can't be read: DEL works without it, too."""
        try:
            return source.held(request, deadline)
        except CniError as error:
            self.parts.note(f"taking the interface down without its lease: {error}")
            return None


def _by_the_pod(request: Request, lease: Lease) -> list[Announcement]:
    """The announcements of an interface that another's main plugin makes after this call: if it is
    on the Neutron network itself, as a macvlan or ipvlan link is, its neighbours are told."""
    link = request.attachment.ifname
    return [Announcement(Side.POD, link, item.address.ip) for item in lease.addresses]


class _Overtaken(CniError):
    """A later ADD of the same container has got other addresses: what there is is that one's."""


def _require_current(lease: Lease, held: Lease | None) -> None:
    """Raise CniError TRY_AGAIN if the lease that ADD has attached is no longer the container's."""
    if held != lease:
        kind = CniError if held is None else _Overtaken
        raise kind(
            Code.TRY_AGAIN,
            "the container was deleted while it was being attached",
            "a DEL or GC for it came while ADD was running",
        )


def _all_of(*steps: Callable[[], None]) -> None:
    """Run every step, even after one that failed; then raise all failures together.

    Several CniErrors become one, with the code of the first and all messages.
    """
    failures: list[Exception] = []
    for step in steps:
        try:
            step()
        except Exception as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures and all(isinstance(error, CniError) for error in failures):
        first = failures[0]
        assert isinstance(first, CniError)
        raise CniError(first.code, "; ".join(str(error) for error in failures))
    if failures:
        raise ExceptionGroup("several steps failed", failures)

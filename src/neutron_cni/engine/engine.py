"""The meaning of ADD, DEL, CHECK, STATUS and GC for every plugin type, whichever host runs it.

Source: CNI SPEC, section 2 ("CNI operations") and section 4 ("Plugin Delegation").
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
from neutron_cni.plugins import RECIPES, Kind
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

LONGEST = {Command.STATUS: 10.0, Command.CHECK: 20.0}
"""Seconds. The kubelet waits for both in places where it does nothing else meanwhile, and takes
the runtime for dead after 30."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Carries out requests, of any plugin type, with the parts that its host has."""

    parts: Parts

    def handle(self, request: Request) -> Result | None:
        """The answer to `request`, a result for ADD and None for the rest; raises CniError."""
        deadline = Deadline.after(min(request.timeout, LONGEST.get(request.command, inf)))
        source = self._source(request)
        if RECIPES[request.plugin].kind is Kind.IPAM:
            return _serve_ipam(request, source, deadline)
        plane = self.parts.data_plane(request)
        match request.command:
            case Command.ADD:
                return self._add(request, plane, source, deadline)
            case Command.DEL:
                lease = self._held(request, source, deadline)
                _all_of(lambda: plane.detach(lease), lambda: source.release(request, deadline))
                # An ADD that its runtime left behind may have attached between the two; one that
                # attaches from now on finds that it has no lease any more.
                plane.detach(lease)
            case Command.CHECK:
                from neutron_cni.engine.check import check

                check(request, plane, source, deadline)
            case Command.STATUS:
                plane.ready()
                source.status(request, deadline)
            case Command.GC:
                _all_of(plane.collect, lambda: source.collect(request, deadline))
        return None

    def _source(self, request: Request) -> LeaseSource:
        if request.ipam is not None:
            asked = RECIPES.get(request.ipam.type)
            serves_itself = RECIPES[request.plugin].kind is Kind.IPAM
            if (asked and asked.kind is not Kind.IPAM) or (serves_itself and not request.ipam.own):
                # A main plugin as its own IPAM would start itself for ever.
                raise invalid("ipam.type", f"{request.ipam.type!r} is not allowed", f"{OWN_IPAM}")
        return lease_source(request.ipam, self.parts.own_ipam, self.parts.note)

    def _add(
        self, request: Request, plane: DataPlane, source: LeaseSource, deadline: Deadline
    ) -> Result:
        """What costs no cloud call comes first, so that a mistake costs no address either."""
        chained = RECIPES[request.plugin].kind is Kind.CHAINED
        if chained and request.prev_result is None:
            raise invalid("prevResult", f"{request.plugin} can't be the first of `plugins`")
        if request.prev_result is not None and not chained:
            raise invalid("prevResult", f"{request.plugin} must be the first of `plugins`")
        if request.mac:
            raise CniError(
                Code.UNSUPPORTED_FIELD,
                f"runtimeConfig.mac {request.mac!r}: {request.plugin} gives its own MACs",
            )
        if plane.inspect() and not source.repeatable:
            # An earlier ADD whose answer was lost, with an IPAM that gives no lease twice (and
            # that a failed second ADD would make release the address in use): start afresh. First
            # what may fail without us, as for a plugin that is not there.
            source.release(request, deadline)
            plane.detach(None)
        lease = source.acquire(request, deadline)
        try:
            deadline.require("getting an address")
            result = plane.attach(lease, deadline)
            if source.repeatable and source.held(request, deadline) != lease:
                raise CniError(
                    Code.TRY_AGAIN,
                    "the container was deleted while it was being attached",
                    "a DEL or GC for it came while ADD was running",
                )
            return result
        except BaseException:
            self._roll_back(request, lease, plane, source)
            raise

    def _roll_back(
        self, request: Request, lease: Lease, plane: DataPlane, source: LeaseSource
    ) -> None:
        """After a failed ADD. It failed by its own error, so what goes wrong here is a note."""
        limit = Deadline.after(ROLLBACK_SECONDS)
        try:
            _all_of(lambda: plane.detach(lease), lambda: source.release(request, limit))
        except Exception as error:
            self.parts.note(f"undoing a failed ADD: {error}; DEL or GC will finish it")

    def _held(self, request: Request, source: LeaseSource, deadline: Deadline) -> Lease | None:
        """The lease for DEL, which also works without: the store may be what is broken."""
        try:
            return source.held(request, deadline)
        except CniError as error:
            self.parts.note(f"taking the interface down without its lease: {error}")
            return None


def _serve_ipam(request: Request, source: LeaseSource, deadline: Deadline) -> Result | None:
    """Our IPAM as a program of its own, under somebody else's main plugin."""
    match request.command:
        case Command.ADD:
            return source.acquire(request, deadline).to_result()
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


def _all_of(*steps: Callable[[], None]) -> None:
    """Every step, even if one before it failed; then raises what failed, all of it together."""
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

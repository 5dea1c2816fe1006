"""The meaning of ADD, DEL, CHECK, STATUS and GC for every plugin type, whichever host runs it.

Source: CNI SPEC, section 2 ("CNI operations") and section 4 ("Plugin Delegation").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from neutron_cni.cni.document import invalid
from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import OWN_IPAM
from neutron_cni.engine.lease_source import (
    ROLLBACK_SECONDS,
    AnyRequest,
    IpamSource,
    ipam_source,
)
from neutron_cni.ipam.api import Ipam
from neutron_cni.plugins import KINDS, Kind
from neutron_cni.plugins.data_plane import DataPlane
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, Result

LONGEST = {Command.STATUS: 10.0, Command.CHECK: 20.0}
"""Seconds. The kubelet waits for both in places where it does nothing else meanwhile, and takes
the runtime for dead after 30."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What a request is carried out with.

    `own_ipam` and `data_plane` are called when first needed, as what they import is slow.
    `note` takes one line for the operator that is no part of the answer.
    """

    own_ipam: Callable[[], Ipam]
    data_plane: Callable[[AnyRequest], DataPlane]
    note: Callable[[str], None]

    def handle(self, request: AnyRequest) -> Result | None:
        """The answer to `request`, a result for ADD and None for the rest; raises CniError."""
        deadline = Deadline.after(min(request.ipam.timeout, LONGEST.get(request.command, inf)))
        source = self._source(request)
        if KINDS[request.plugin] is Kind.IPAM:
            return _serve_ipam(request, source, deadline)
        plane = self.data_plane(request)
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
                _check(request, plane, source, deadline)
            case Command.STATUS:
                plane.ready()
                source.status(request, deadline)
            case Command.GC:
                _all_of(plane.collect, lambda: source.collect(request, deadline))
        return None

    def _source(self, request: AnyRequest) -> IpamSource:
        kind = KINDS.get(request.ipam.type)
        wrong_host = KINDS[request.plugin] is Kind.IPAM and request.ipam.own is None
        if kind is Kind.MAIN or wrong_host:
            # A main plugin as its own IPAM would start itself for ever.
            raise invalid("ipam.type", f"{request.ipam.type!r} is not allowed", f"{OWN_IPAM}")
        return ipam_source(request.ipam, self.own_ipam, self.note)

    def _add(
        self, request: AnyRequest, plane: DataPlane, source: IpamSource, deadline: Deadline
    ) -> Result:
        """What costs no cloud call comes first, so that a mistake costs no address either."""
        if request.prev_result is not None:
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
            result = plane.attach(lease)
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
        self, request: AnyRequest, lease: Lease, plane: DataPlane, source: IpamSource
    ) -> None:
        """After a failed ADD. It failed by its own error, so what goes wrong here is a note."""
        limit = Deadline.after(ROLLBACK_SECONDS)
        try:
            _all_of(lambda: plane.detach(lease), lambda: source.release(request, limit))
        except Exception as error:
            self.note(f"undoing a failed ADD: {error}; DEL or GC will finish it")

    def _held(self, request: AnyRequest, source: IpamSource, deadline: Deadline) -> Lease | None:
        """The lease for DEL, which also works without: the store may be what is broken."""
        try:
            return source.held(request, deadline)
        except CniError as error:
            self.note(f"taking the interface down without its lease: {error}")
            return None


def _check(request: AnyRequest, plane: DataPlane, source: IpamSource, deadline: Deadline) -> None:
    lease, found = source.verify(request, deadline)
    if not any(_is_ours(item, request) for item in _previous(request).interfaces):
        found = [*found, f"prevResult has no interface {request.attachment.ifname} of the pod"]
    _report(found + _unlike_previous(request, lease) + plane.differences(lease))


def _serve_ipam(request: AnyRequest, source: IpamSource, deadline: Deadline) -> Result | None:
    """Our IPAM as a program of its own, under somebody else's main plugin."""
    match request.command:
        case Command.ADD:
            return source.acquire(request, deadline).to_result()
        case Command.DEL:
            source.release(request, deadline)
        case Command.CHECK:
            lease, found = source.verify(request, deadline)
            _report(found + _unlike_previous(request, lease))
        case Command.STATUS:
            source.status(request, deadline)
        case Command.GC:
            source.collect(request, deadline)
    return None


def _unlike_previous(request: AnyRequest, lease: Lease) -> list[str]:
    """How prevResult and lease differ in addresses. Later plugins of the chain may have added
    addresses on interfaces of their own: those are not ours to judge."""
    previous = _previous(request)
    leased = {item.address.ip for item in lease.addresses}
    stated = {item.address.ip for item in previous.ips}
    ours = {
        item.address.ip
        for item in previous.ips
        if item.interface is not None and _is_ours(previous.interfaces[item.interface], request)
    }
    gone = [f"prevResult has {ip}, which IPAM no longer holds for it" for ip in ours - leased]
    added = [f"IPAM holds {ip}, which prevResult does not have" for ip in leased - stated]
    return sorted(gone) + sorted(added)


def _previous(request: AnyRequest) -> Result:
    return request.prev_result or Result()


def _is_ours(interface: Interface, request: AnyRequest) -> bool:
    return interface.name == request.attachment.ifname and bool(interface.sandbox)


def _report(differences: Iterable[str]) -> None:
    found = list(differences)
    if found:
        raise CniError(
            Code.CHECK_FAILED,
            f"not as ADD left it: {'; '.join(found)}",
            "the pod must be made anew, as a runtime can't repair an attachment",
        )


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

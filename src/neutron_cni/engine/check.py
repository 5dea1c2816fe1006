"""CHECK: finds what differs from what ADD left, and from the result of ADD (prevResult).

Source: CNI SPEC, section 2 ("CHECK").
"""

from __future__ import annotations

from collections.abc import Iterable

from neutron_cni.cni.request import Request
from neutron_cni.engine.lease_source import LeaseSource
from neutron_cni.engine.parts import DataPlane
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Interface, Result


def check(request: Request, plane: DataPlane, source: LeaseSource, deadline: Deadline) -> None:
    """CHECK of a plugin that makes an interface. Raises CniError CHECK_FAILED with what differs."""
    lease, found = source.verify(request, deadline)
    if not any(_is_ours(item, request) for item in _previous(request).interfaces):
        found = [*found, f"prevResult has no interface {request.attachment.ifname} of the pod"]
    _report(found + _unlike_previous(request, lease) + plane.differences(lease))


def check_lease(request: Request, source: LeaseSource, deadline: Deadline) -> None:
    """CHECK of our IPAM under a third party's main plugin. Raises CniError CHECK_FAILED."""
    lease, found = source.verify(request, deadline)
    _report(found + _unlike_previous(request, lease))


def _unlike_previous(request: Request, lease: Lease) -> list[str]:
    """How the addresses in prevResult and in the lease differ, as sentences.

    Addresses that later plugins of the chain added on their own interfaces are not compared.
    """
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


def _previous(request: Request) -> Result:
    return request.prev_result or Result()


def _is_ours(interface: Interface, request: Request) -> bool:
    return interface.name == request.attachment.ifname and bool(interface.sandbox)


def _report(differences: Iterable[str]) -> None:
    found = list(differences)
    if found:
        raise CniError(
            Code.CHECK_FAILED,
            f"not as ADD left it: {'; '.join(found)}",
            "the pod must be made anew, as a runtime can't repair an attachment",
        )

"""What an engine is put together from; each host brings its own parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from neutron_cni.cni.request import Request
from neutron_cni.ipam.api import Ipam
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result


class DataPlane(Protocol):
    """The kernel, for one request. Every method raises CniError and nothing else by design."""

    def inspect(self) -> bool:
        """Whether this attachment's interface is there already, made by us for this container.

        Raises CniError for all that ADD must refuse and that can be known before it has an
        address: INVALID_ENVIRONMENT where CNI_NETNS is no network namespace or the host's own,
        CONFLICT where somebody else's interface has the name. Changes nothing.
        """

    def ready(self) -> None:
        """STATUS: raises CniError PLUGIN_NOT_AVAILABLE where no ADD could be attached."""

    def attach(self, lease: Lease, deadline: Deadline) -> Result:
        """Make the interface, or complete it; the result of ADD."""

    def detach(self, lease: Lease | None) -> None:
        """Remove what `attach` made. Of the unknown, and of a namespace that is gone: nothing.

        Without a lease (its record is lost) what can only be found by its addresses stays.
        """

    def differences(self, lease: Lease) -> list[str]:
        """Sentences that name what is not as `attach` made it."""

    def collect(self) -> None:
        """GC: remove the links of the request's network whose attachment is not in `valid`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What differs between hosts.

    `own_ipam` and `data_plane` are called when first needed, as what they import is slow.
    `note` takes one line for the operator that is no part of the answer.
    """

    own_ipam: Callable[[], Ipam]
    data_plane: Callable[[Request], DataPlane]
    note: Callable[[str], None]

"""The parts that an engine is made of; each host gives its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from neutron_cni.cni.request import Request
from neutron_cni.ipam.api import Ipam
from neutron_cni.netlink.plan import Announcement
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result


class DataPlane(Protocol):
    """The kernel, for one request. Every method is meant to raise CniError only."""

    exposed: bool
    """Whether `attach` came so far that somebody may know the addresses: the pod's interface was
    about to come up."""

    announced: tuple[Announcement, ...]
    """What `attach` has told the neighbours of which link."""

    def inspect(self) -> bool:
        """Whether the attachment's interface exists already, made by an earlier ADD of it.

        Changes nothing. Raises CniError for all that ADD must refuse and that can be known
        before it gets an address: INVALID_ENVIRONMENT if CNI_NETNS is no network namespace, or
        the node's own; CONFLICT if an interface of another owner has the name.
        """

    def ready(self) -> None:
        """For STATUS: raise CniError PLUGIN_NOT_AVAILABLE if ADD could make no interface now."""

    def bring_back(self, leases: Sequence[Lease]) -> None:
        """For STATUS: make again what the node does for its pods and somebody took away.

        `leases`: all that pods of the network have, as far as they are known."""

    def attach(self, lease: Lease, deadline: Deadline) -> Result:
        """Make the interface, or complete one that is half made; returns the result of ADD."""

    def await_network(self, lease: Lease, deadline: Deadline) -> bool:
        """Return when the network lets the addresses that `attach` made pass, or the deadline has
        passed, which is a note and no error.

        False: the lease's gateway did not answer. Where nobody can be asked it is True."""

    def detach(self, lease: Lease | None) -> None:
        """Remove what `attach` made. An attachment or namespace that does not exist is fine.

        Without a lease (its record is lost), what can only be found by its addresses stays.
        """

    def differences(self, lease: Lease) -> list[str]:
        """Sentences that say what is not as `attach` made it."""

    def defaults(self) -> frozenset[int]:
        """The IP versions (4, 6) of which the pod has a default route by another interface; none
        where CNI_NETNS is no pod's namespace, as whoever makes the interface then says."""

    def collect(self) -> None:
        """For GC: remove links of the request's network whose attachment is not in `valid`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an engine that differ between hosts.

    `own_ipam` and `data_plane` are called only when they are needed, as what they import is slow.
    `note` takes one line for the operator, which is no part of the answer.
    """

    own_ipam: Callable[[], Ipam]
    data_plane: Callable[[Request], DataPlane]
    note: Callable[[str], None]

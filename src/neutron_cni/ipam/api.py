"""What a main plugin asks of IPAM, whichever host runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from neutron_cni.netlink.plan import Announcement
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease


def _say_nothing(line: str) -> None:
    """For a caller who shows nothing to anybody."""


@dataclass(frozen=True, slots=True)
class IpamRequest:
    """One call about one attachment.

    `requested`: addresses that the user asked for by name. `note` takes a line for the operator,
    which is no part of the answer.
    """

    network: str
    attachment: Attachment
    config: IpamConfig
    deadline: Deadline
    pod: PodRef = field(default_factory=PodRef)
    requested: tuple[IPAddress, ...] = ()
    note: Callable[[str], None] = field(default=_say_nothing, compare=False)


class Ipam(Protocol):
    """Addresses for attachments. Every method raises CniError and nothing else by design."""

    def acquire(self, request: IpamRequest) -> Lease:
        """The attachment's lease; asking again gives the same one.

        Asking again also puts back what somebody took away in Neutron. Raises CONFLICT where
        somebody else has the address by now: the lease is given up, and the next call gets another.
        """

    def lookup(self, request: IpamRequest) -> Lease | None:
        """The lease as the store has it, without asking Neutron; None where there is none."""

    def attached(self, request: IpamRequest, sent: Sequence[Announcement]) -> Lease | None:
        """The same, when the interface is there. What it has `sent` is announced again for some
        seconds, by somebody who is not waited for."""

    def await_network(
        self, request: IpamRequest, lease: Lease, ask: Callable[[Lease, Deadline], bool]
    ) -> None:
        """Return when the pod's packets pass, as `waitForNetwork` says; `ask` returns whether the
        lease's gateway has answered before the deadline that it is given."""

    def release(self, request: IpamRequest, used: bool = True) -> None:
        """Release the attachment's lease, if it has one; succeeds while Neutron is down.

        The addresses leave Neutron later. If they were `used`, they rest before, still reserved.
        """

    def verify(self, request: IpamRequest) -> list[str]:
        """Sentences that name what differs between store and Neutron; none when all is well."""

    def status(self, config: IpamConfig, deadline: Deadline) -> list[str]:
        """Returns when an ADD could succeed now; otherwise CniError 50 with the reason.

        What the operator should know although it is no error is returned, as sentences.
        """

    def all_held(self, network: str, config: IpamConfig, deadline: Deadline) -> list[Lease]:
        """Every lease of `network` that a pod has, as the store has it."""

    def collect(
        self, network: str, config: IpamConfig, keep: Collection[Attachment], deadline: Deadline
    ) -> None:
        """CNI GC: release every lease of `network` whose attachment is not in `keep`."""

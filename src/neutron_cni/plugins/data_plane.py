"""What the engine asks of a main plugin: its plan made real in the kernel, seen and undone."""

from __future__ import annotations

from typing import Protocol

from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result


class DataPlane(Protocol):
    """One request's hold on the kernel. Every method raises CniError and nothing else by design."""

    def inspect(self) -> bool:
        """Whether this attachment's interface is there already, made by us for this container.

        Raises CniError for all that ADD must refuse and that can be known before it has an
        address: INVALID_ENVIRONMENT where CNI_NETNS is no network namespace or the host's own,
        CONFLICT where somebody else's interface has the name. Changes nothing.
        """

    def ready(self) -> None:
        """STATUS: raises CniError PLUGIN_NOT_AVAILABLE where no ADD could be attached."""

    def attach(self, lease: Lease) -> Result:
        """Make the interface, or complete it; the result of ADD."""

    def detach(self, lease: Lease | None) -> None:
        """Remove what `attach` made. Of the unknown, and of a namespace that is gone: nothing.

        Without a lease (its record is lost) what can only be found by its addresses stays.
        """

    def differences(self, lease: Lease) -> list[str]:
        """Sentences that name what is not as `attach` made it."""

    def collect(self) -> None:
        """GC: remove the links of the request's network whose attachment is not in `valid`."""

"""What a page of this package offers: one part of a plugin, as pure functions of a module.

`engine.kernel` makes true what the pages say, whichever plugin type they belong to, and knows none
of them by name. A type of its own is one page, or several: `RECIPES` says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import Plan
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Asks:
    """The facts of the node that a page needs.

    `host_interface` names the uplink; None: the NIC that IPAM takes addresses for, and without
    such a one that of the default route. `dummy_name`: whether that dummy link can be had; empty
    where the page does not care.
    """

    host_interface: str | None = None
    dummy_name: str = ""


@dataclass(frozen=True, slots=True)
class Call(Generic[C]):
    """All that a plan is made from. `network` is the CNI network's name.

    `before`: the result of the plugins and parts that came before this one.
    """

    network: str
    attachment: Attachment
    config: C
    lease: Lease
    facts: HostFacts
    pod: PodRef = field(default_factory=PodRef)
    before: Result = field(default_factory=Result)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is known of an attachment that goes: its lease and the node's facts may be lost."""

    network: str
    attachment: Attachment
    lease: Lease | None = None
    facts: HostFacts | None = None


class Page(Protocol):
    """One part of a plugin. Every function is pure; `call.config` is a `Config` of the page."""

    PART: str
    """The part's name, and the last word in the aliases of its links ("veth-route")."""

    Config: type[msgspec.Struct]
    """The page's own keys of the network configuration; every key has a default."""

    def asks(self, config: Any) -> Asks:
        """Which facts of the node `plan` needs."""

    def plan(self, call: Call[Any]) -> Plan:
        """All that the attachment needs of the kernel.

        Raises CniError: CONFLICT or INVALID_CONFIG where it can't work, in words for people.
        """

    def leftovers(self, gone: Leftover) -> Plan:
        """What `undo` must name itself, as deleting the links does not take it along.

        Its links are found by their names, whatever else is lost.
        """

    def result(self, call: Call[Any]) -> Result:
        """The answer to ADD: `call.before`, and what this part adds to it."""

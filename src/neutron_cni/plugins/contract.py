"""What a page of this package offers: one part of a plugin, as pure functions of a module.

`engine.kernel` carries out what the pages say, whichever plugin type they belong to, and knows
none of them by name. A plugin type is made of one page or several: `RECIPES` says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from neutron_cni.netlink.facts import HostFacts, PodFacts
from neutron_cni.netlink.nics import Selector
from neutron_cni.netlink.plan import PacketRules, Plan, ProxyNeighbour
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Asks:
    """The facts of the node that a page needs.

    `host_interface` names the uplink; None: the `hostInterface` of our IPAM, or else the NIC of
    the default route. `key` is the option that names it. `dummy_name` names a dummy link that the
    page uses if the kernel has it or can make it; empty if the page uses none. `ipvlan`: the page
    makes children of the uplink. `addresses`: it needs all addresses of the node. `moves_nic`: it
    moves a NIC into the pod, `nic`, or if that is None the one that IPAM gets for the pod.
    """

    host_interface: str | None = None
    key: str = "hostInterface"
    dummy_name: str = ""
    ipvlan: bool = False
    addresses: bool = False
    moves_nic: bool = False
    nic: Selector | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[C]):
    """All that a plan is made from. `network` is the name of the CNI network.

    `mac`: the MAC that the runtime asks for the pod's interface, or empty. `inside`: what else the
    pod has. `before`: the result of the plugins and of the parts that ran before this one.
    """

    network: str
    attachment: Attachment
    config: C
    lease: Lease
    facts: HostFacts
    pod: PodRef = field(default_factory=PodRef)
    mac: str = ""
    inside: PodFacts = field(default_factory=PodFacts)
    before: Result = field(default_factory=Result)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is known of an attachment to remove; `lease` or `facts` is None if it is lost.

    `mac`: the MAC that the runtime asked for the pod's interface, empty if none or not known.
    `config`: the page's, None where only the link's alias tells of the attachment. `inside`: what
    else the pod has, where the question is what an earlier ADD may have made.
    """

    network: str
    attachment: Attachment
    lease: Lease | None = None
    facts: HostFacts | None = None
    mac: str = ""
    config: Any = None
    inside: PodFacts | None = None


class Page(Protocol):
    """One part of a plugin. Every function is pure; every `config` is a `Config` of the page."""

    PART: str
    """The part's name, and the last word in the aliases of its links ("veth-route")."""

    Config: type[msgspec.Struct]
    """The page's own keys of the network configuration; every key has a default."""

    def asks(self, config: Any) -> Asks:
        """The facts of the node that `plan` needs."""

    def refuse(self, config: Any, facts: HostFacts) -> None:
        """Raise CniError for what makes every attachment impossible on this node.

        It is asked before an address is taken, and for STATUS.
        """

    def remarks(self, config: Any, facts: HostFacts) -> list[str]:
        """Sentences about what on the node itself cuts pods off, or may; for STATUS and CHECK."""

    def shared(self, config: Any) -> tuple[PacketRules, ...]:
        """The packet rules of the node that all pods share, so that none of them brings them back
        if somebody takes them away: STATUS does, which runtimes ask for every few seconds.

        Of both IP versions: who makes them knows of which there are pods."""

    def answers(self, config: Any, lease: Lease, facts: HostFacts) -> tuple[ProxyNeighbour, ...]:
        """The entries of `plan` by which the node answers for the pod.

        The kernel drops them when the NIC goes down, so STATUS brings back those of all pods."""

    def plan(self, call: Call[Any]) -> Plan:
        """All that the attachment needs of the kernel.

        Raises CniError CONFLICT or INVALID_CONFIG if the attachment can't work.
        """

    def leftovers(self, gone: Leftover) -> Plan:
        """The plan for `undo`: the links, and what the kernel does not delete along with them.

        It must name the links even if the lease and the facts are lost.
        """

    def result(self, call: Call[Any]) -> Result:
        """The result of ADD: `call.before`, and what this part adds to it."""

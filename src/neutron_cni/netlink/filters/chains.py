"""The packet rules as values, said once for both back ends. Pure.

Named tuples: to define as many dataclasses takes several ms, and processes live for one ADD.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from neutron_cni.netlink.plan import NodeSource, PacketRules, ReturnMark


class Hook(Enum):
    """Where the kernel walks through a chain: what `iptables` calls (table, chain)."""

    PREROUTING = ("mangle", "PREROUTING")
    OUTPUT = ("mangle", "OUTPUT")
    """A packet whose mark is changed here is routed anew."""
    SOURCE = ("nat", "POSTROUTING")

    @property
    def table(self) -> str:
        """The table of iptables."""
        return self.value[0]

    @property
    def chain(self) -> str:
        """The chain of iptables."""
        return self.value[1]


class Connection(Enum):
    """What is matched of the packet's connection."""

    NEW = "new"
    """No answer has been seen yet, and the connection belongs to no other."""
    REPLY = "reply"
    """The packet goes the way that the connection's first packet did not."""


class Marked(Enum):
    """Who carries a mark: the packet, or its connection."""

    PACKET = "packet"
    CONNECTION = "connection"


class Link(NamedTuple):
    """Matches the link by which a packet came (`incoming`) or leaves.

    `prefix`: all links whose names begin with `name`. `other`: the links that are not meant.
    """

    incoming: bool
    name: str
    prefix: bool = False
    other: bool = False


class HasMark(NamedTuple):
    """Matches if `who` has the bit `mark`."""

    who: Marked
    mark: int


class SetMark(NamedTuple):
    """Gives `who` the bit `mark`; the other bits stay."""

    who: Marked
    mark: int


class Masquerade(NamedTuple):
    """Gives the connection an address of the node's as its source, and a port by chance.

    By chance, as two connections at once would else be given the same port, and one be dropped.
    """


Match = Link | Connection | HasMark
Action = SetMark | Masquerade


class Rule(NamedTuple):
    """`action` is done with what fits all `matches`, and the packet goes on."""

    matches: tuple[Match, ...]
    action: Action


class Chain(NamedTuple):
    """A chain of ours. Its name, of 28 characters at most, is its own in all tables."""

    name: str
    hook: Hook
    rules: tuple[Rule, ...]


def chains_of(item: PacketRules) -> tuple[Chain, ...]:
    """The chains that make `item` true."""
    return _return_mark(item) if isinstance(item, ReturnMark) else _node_source(item)


def _return_mark(item: ReturnMark) -> tuple[Chain, ...]:
    """The second rule is for pods that are routers, such as those with a virtual machine inside:
    the answers that they forward are routed after PREROUTING, and never pass OUTPUT.

    What rules of the pod redirect to a process of its own (Istio) is answered by that process, and
    passes OUTPUT as all that is made in the pod, ICMP errors too.
    """
    remembered = HasMark(Marked.CONNECTION, item.mark)
    give = SetMark(Marked.PACKET, item.mark)
    came = (Link(incoming=True, name=item.link), Connection.NEW)
    return (
        Chain(
            f"ncni-in-{item.link}",
            Hook.PREROUTING,
            (
                Rule(came, SetMark(Marked.CONNECTION, item.mark)),
                Rule((Connection.REPLY, remembered), give),
            ),
        ),
        Chain(f"ncni-out-{item.link}", Hook.OUTPUT, (Rule((remembered,), give),)),
    )


def _node_source(item: NodeSource) -> tuple[Chain, ...]:
    """Two chains, as no hook at which a source is changed knows the link that a packet came by.

    The first is not at the hook for what is forwarded: what IPVS translates (kube-proxy's mode
    ipvs) comes to the node as its own, and never passes there.
    """
    came = Link(incoming=True, name=item.prefix, prefix=True)
    leaves = Link(incoming=False, name=item.prefix, prefix=True, other=True)
    give = SetMark(Marked.PACKET, item.mark)
    marked = HasMark(Marked.PACKET, item.mark)
    return (
        Chain(f"ncni-from-{item.prefix}", Hook.PREROUTING, (Rule((came,), give),)),
        Chain(f"ncni-src-{item.prefix}", Hook.SOURCE, (Rule((leaves, marked), Masquerade()),)),
    )

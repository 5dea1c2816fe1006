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
    FORWARD = ("mangle", "FORWARD")
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
    TRANSLATED = "translated"
    """Its destination was replaced, as those of services are."""


class Packet(Enum):
    """What is matched of the packet itself."""

    TO_LINK_LOCAL = "to link-local"
    """It is for an IPv4 link-local address (169.254.0.0/16)."""
    NO_WAY_BACK = "no way back"
    """What is for its source would not leave by the link that it came by."""


class Verdict(Enum):
    """What becomes of the packet."""

    DROP = "drop"
    """It is gone."""
    RETURN = "return"
    """The rest of the chain does not count."""


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


Match = Link | Connection | HasMark | Packet
Action = SetMark | Masquerade | Verdict


class Rule(NamedTuple):
    """`action` is done with what fits all `matches`; unless that is a verdict, it goes on."""

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
    """Three chains, as no hook at which a source is changed knows the link that a packet came by.

    The mark is not given at the hook for what is forwarded: what IPVS translates (kube-proxy's mode
    ipvs) comes to the node as its own, and never passes there. IPv6 has no rp_filter, so the source
    is looked at here. What a service or an answer does not explain is not sent on: any process of a
    pod can send by any link of the pod (SO_BINDTODEVICE), and would have the node's address.
    """
    came = Link(incoming=True, name=item.prefix, prefix=True)
    leaves = Link(incoming=False, name=item.prefix, prefix=True, other=True)
    give = Rule((came,), SetMark(Marked.PACKET, item.mark))
    marked = HasMark(Marked.PACKET, item.mark)
    forged = Rule((came, Packet.NO_WAY_BACK), Verdict.DROP)
    explained: list[Match] = [Connection.TRANSLATED, Connection.REPLY]
    if item.version == 4:
        explained.append(Packet.TO_LINK_LOCAL)
    return (
        Chain(
            f"ncni-from-{item.prefix}",
            Hook.PREROUTING,
            (give,) if item.version == 4 else (forged, give),
        ),
        Chain(
            f"ncni-fwd-{item.prefix}",
            Hook.FORWARD,
            (
                *(Rule((came, leaves, why), Verdict.RETURN) for why in explained),
                Rule((came, leaves), Verdict.DROP),
            ),
        ),
        Chain(f"ncni-src-{item.prefix}", Hook.SOURCE, (Rule((leaves, marked), Masquerade()),)),
    )

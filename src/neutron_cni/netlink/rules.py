"""Requests and look-ups for policy rules: which routing table is for which packets."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_network

from pyroute2.netlink.rtnl.fibmsg import fibmsg

from neutron_cni.netlink.messages import EXCL_CREATE, EXISTS, FAMILY, GONE, new
from neutron_cni.netlink.plan import ANY_TABLE, MAIN_TABLE, Rule, Side
from neutron_cni.netlink.rtnl import Message, Request, Rtnl
from neutron_cni.values.address import IPAddress

_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_NO_RULES = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
"""What a kernel answers that has no rules of an IP version: it was built without IPv6, or that was
switched off at boot."""
_FR_ACT_TO_TBL = 1
_NOT_SUPPRESSED = 0xFFFFFFFF
_OF_KERNEL = 2
"""The protocol of the rules that every namespace begins with."""
PROTOCOL = 110
"""Marks our rules, as our proxy neighbours are (`ip -d rule` prints "proto 110").

The kernel compares only what a request names: without it, deleting "from 10.0.0.5" would delete
somebody else's "from 10.0.0.5 iif lo" (seen on Linux 6.18), and adding "from all" would find
somebody's "from 10.0.0.7" and be content. Our own rules of one priority have the same selectors.
"""


def _rule(kind: int, flags: int, wanted: Rule) -> Message:
    attributes: list[tuple[str, object]] = [
        ("FRA_PRIORITY", wanted.priority),
        ("FRA_PROTOCOL", PROTOCOL),
    ]
    if wanted.table != ANY_TABLE:
        attributes.append(("FRA_TABLE", wanted.table))
    if wanted.suppress_prefixlength is not None:
        attributes.append(("FRA_SUPPRESS_PREFIXLEN", wanted.suppress_prefixlength))
    length = 0
    if wanted.source is not None:
        length = wanted.source.prefixlen
        attributes.append(("FRA_SRC", str(wanted.source.network_address)))
    if wanted.mark is not None:
        attributes += [("FRA_FWMARK", wanted.mark), ("FRA_FWMASK", wanted.mark)]
    if wanted.incoming:
        attributes.append(("FRA_IIFNAME", wanted.incoming))
    return new(
        fibmsg,
        kind,
        flags,
        family=FAMILY[wanted.version],
        src_len=length,
        # The table's number is in FRA_TABLE; this field holds only those below 256.
        table=wanted.table if wanted.table < 256 else 0,
        action=_FR_ACT_TO_TBL,
        attrs=attributes,
    )


def add(wanted: Rule) -> Request:
    """The request to add a rule; an equal one that is there already is fine."""
    return Request(_rule(_NEWRULE, EXCL_CREATE, wanted), f"add {describe(wanted)}", EXISTS)


def delete(wanted: Rule) -> Request:
    """The request to delete the rule that equals `wanted` in every field; a missing one is fine.

    With ANY_TABLE the first rule of ours that equals it in the other fields is deleted.
    """
    accept = GONE | _NO_RULES
    return Request(_rule(_DELRULE, 0, wanted), f"delete {describe(wanted)}", accept)


def delete_any(wanted: Rule) -> Request:
    """The request to delete a rule of ours for the same packets at the same place, whatever it says
    of them; a missing one is fine."""
    return delete(replace(wanted, table=ANY_TABLE, suppress_prefixlength=None))


def describe(wanted: Rule) -> str:
    """A rule in words, as `ip rule` would write it."""
    source = f" from {wanted.source}" if wanted.source is not None else " from all"
    mark = f" fwmark {wanted.mark:#x}" if wanted.mark is not None else ""
    incoming = f" iif {wanted.incoming}" if wanted.incoming else ""
    known = {ANY_TABLE: "any table", MAIN_TABLE: "main"}
    table = known.get(wanted.table, str(wanted.table))
    length = wanted.suppress_prefixlength
    suppress = "" if length is None else f" suppress_prefixlength {length}"
    rule = f"the rule {wanted.priority}:{source}{mark}{incoming} lookup {table}{suppress}"
    return f"{rule} ({wanted.side})"


def tables(rtnl: Rtnl, version: int) -> frozenset[int]:
    """The numbers of the tables that any rule of an IP version leads to, whoever made the rule."""
    return frozenset(item.get_attr("FRA_TABLE") or item["table"] for item in _dump(rtnl, version))


def single_source(rule: Rule) -> IPAddress | None:
    """The one address whose packets the rule is for; None if it is for those of several or all."""
    source = rule.source
    return source.network_address if source is not None and source.num_addresses == 1 else None


def own(rtnl: Rtnl, side: Side, version: int) -> list[Rule]:
    """The rules of one IP version that neutron-cni made (PROTOCOL); raises CniError KERNEL.

    `side` is that of the namespace that `rtnl` serves.
    """
    return [_read(x, side, version) for x in _dump(rtnl, version) if _protocol(x) == PROTOCOL]


def list_all(rtnl: Rtnl, side: Side, version: int) -> list[Rule]:
    """The rules of one IP version but the kernel's own, as far as a `Rule` can say what they say.

    `side` is that of the namespace that `rtnl` serves. Raises CniError KERNEL.
    """
    return [_read(x, side, version) for x in _dump(rtnl, version) if _protocol(x) != _OF_KERNEL]


def _dump(rtnl: Rtnl, version: int) -> list[Message]:
    message = new(fibmsg, _GETRULE, family=FAMILY[version])
    return rtnl.dump(message, "list the policy rules", absent=_NO_RULES)


def _protocol(message: Message) -> int:
    return message.get_attr("FRA_PROTOCOL") or 0


def _read(message: Message, side: Side, version: int) -> Rule:
    """A rule of the kernel as a value."""
    address = message.get_attr("FRA_SRC")
    suppressed = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    return Rule(
        side=side,
        version=version,
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") or message["table"],
        source=ip_network(f"{address}/{message['src_len']}") if address else None,
        mark=message.get_attr("FRA_FWMARK"),
        incoming=message.get_attr("FRA_IIFNAME") or "",
        suppress_prefixlength=None if suppressed in (None, _NOT_SUPPRESSED) else suppressed,
    )

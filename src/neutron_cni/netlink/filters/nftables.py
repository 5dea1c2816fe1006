"""Chains in nftables: a table of ours for each IP version, changed by one message to the kernel.

The families are ip and ip6, not inet: older kernels have no NAT for both at once. The numbers are
those of include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from neutron_cni.netlink import nfnetlink
from neutron_cni.netlink.filters.chains import (
    Chain,
    Connection,
    HasMark,
    Hook,
    Link,
    Marked,
    Masquerade,
    Packet,
    Rule,
    SetMark,
    Verdict,
)
from neutron_cni.netlink.nfnetlink import Change, attribute, number32, text

TABLE = "neutron-cni"

UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOENT})
"""What a kernel answers to `write` that lacks something for it: nf_tables (EOPNOTSUPP, or for the
socket EPROTONOSUPPORT), the IP version in it (EOPNOTSUPP, up to 4.15 EAFNOSUPPORT), or a kind of
chain or of expression (ENOENT)."""

Expression = tuple[str, dict[int, bytes]]
"""A step of a rule: its kind, and its attributes, as both we and the kernel write them."""

_TABLE_NAME = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT = 1
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_VALUE = 1
_REGISTER = 1
_EQUAL, _UNEQUAL = 0, 1
_NEW_BIT = struct.pack("=I", 1 << 3)
"""Of `ct state`, in the order of bytes of the machine, as all that is loaded from the kernel."""
_REPLY = b"\1"
_FULLY_RANDOM = 1 << 4

_AFTER_MANGLE = -149
"""Just after the rules of others at this hook (mangle, -150): those that write a mark as a whole,
instead of a bit of it, would take ours away."""
_HOOKS = {
    Hook.PREROUTING: ("filter", 0, _AFTER_MANGLE),
    Hook.OUTPUT: ("route", 3, _AFTER_MANGLE),
    Hook.FORWARD: ("filter", 2, _AFTER_MANGLE),
    Hook.SOURCE: ("nat", 4, 100),
}
"""Type, number and priority. Where a packet is routed anew, the type is "route"."""


def read(version: int, chains: Sequence[Chain]) -> Mapping[str, bool]:
    """Which of `chains` have rules in the calling thread's namespace, and whether just the wanted.

    Raises OSError.
    """
    with closing(nfnetlink.connect()) as sock:
        table = text(_RULE_TABLE, TABLE)
        family = nfnetlink.FAMILY[version]
        listed = nfnetlink.dump(sock, nfnetlink.GETRULE, family, table)
    found: dict[str, list[list[Expression]]] = {}
    for item in listed:
        if _name(item[_RULE_TABLE]) == TABLE:
            rule = list(_read_expressions(item.get(_RULE_EXPRESSIONS, b"")))
            found.setdefault(_name(item[_RULE_CHAIN]), []).append(rule)
    return {
        chain.name: _fits(found[chain.name], chain.rules) for chain in chains if chain.name in found
    }


def write(version: int, chains: Sequence[Chain]) -> None:
    """Make `chains`, or make anew those that are there: all or nothing. May be repeated.

    Raises OSError.
    """
    family = nfnetlink.FAMILY[version]
    create, append = nfnetlink.NLM_F_CREATE, nfnetlink.NLM_F_CREATE | nfnetlink.NLM_F_APPEND
    changes = [Change(nfnetlink.NEWTABLE, create, family, text(_TABLE_NAME, TABLE))]
    for chain in chains:
        changes += [
            Change(nfnetlink.NEWCHAIN, create, family, _encode_chain(chain)),
            Change(nfnetlink.DELRULE, 0, family, _all_rules(chain.name)),
        ]
        changes += [
            Change(nfnetlink.NEWRULE, append, family, encode_rule(chain.name, rule))
            for rule in chain.rules
        ]
    with closing(nfnetlink.connect()) as sock:
        nfnetlink.commit(sock, changes)


def remove(chains: Mapping[int, Sequence[Chain]]) -> frozenset[int]:
    """Remove those of `chains`, by IP version, that are there, and tables without any others.

    Returns the versions of which there was something to remove. Raises OSError.
    """
    changes: dict[int, list[Change]] = {}
    with closing(nfnetlink.connect()) as sock:
        for version, wanted in chains.items():
            changes[version] = _removal(sock, version, {chain.name for chain in wanted})
        together = [change for part in changes.values() for change in part]
        if together:
            nfnetlink.commit(sock, together)
    return frozenset(version for version, part in changes.items() if part)


def _removal(sock: socket.socket, version: int, wanted: set[str]) -> list[Change]:
    family = nfnetlink.FAMILY[version]
    try:
        listed = nfnetlink.dump(sock, nfnetlink.GETCHAIN, family, b"")
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return []
        raise
    there = {_name(item[_CHAIN_NAME]) for item in listed if _name(item[_CHAIN_TABLE]) == TABLE}
    ours = sorted(there & wanted)
    if ours and there <= wanted:
        return [Change(nfnetlink.DELTABLE, 0, family, text(_TABLE_NAME, TABLE))]
    changes = [Change(nfnetlink.DELRULE, 0, family, _all_rules(name)) for name in ours]
    for name in ours:
        names = text(_CHAIN_TABLE, TABLE) + text(_CHAIN_NAME, name)
        changes.append(Change(nfnetlink.DELCHAIN, 0, family, names))
    return changes


def _encode_chain(chain: Chain) -> bytes:
    kind, number, priority = _HOOKS[chain.hook]
    hook = number32(_HOOK_NUMBER, number) + number32(_HOOK_PRIORITY, priority)
    names = text(_CHAIN_TABLE, TABLE) + text(_CHAIN_NAME, chain.name)
    return names + attribute(_CHAIN_HOOK, hook) + text(_CHAIN_TYPE, kind)


def _all_rules(chain: str) -> bytes:
    """Names the rules of a chain to DELRULE, which deletes all where no single one is named."""
    return text(_RULE_TABLE, TABLE) + text(_RULE_CHAIN, chain)


def encode_rule(chain: str, rule: Rule) -> bytes:
    """The attributes of a rule for NEWRULE."""
    elements = b"".join(
        attribute(
            _LIST_ELEMENT,
            text(_EXPRESSION_NAME, name)
            + attribute(
                _EXPRESSION_DATA,
                b"".join(attribute(kind, value) for kind, value in sorted(data.items())),
            ),
        )
        for name, data in expressions(rule)
    )
    return _all_rules(chain) + attribute(_RULE_EXPRESSIONS, elements)


def expressions(rule: Rule) -> list[Expression]:
    """The steps of a rule, as `nft --debug=netlink` would name them."""
    found: list[Expression] = []
    for match in rule.matches:
        if isinstance(match, Link):
            found += _link(match)
        elif match is Connection.NEW:
            found += [_load("ct", _CT_STATE), _mask(_NEW_BIT), _compare(_UNEQUAL, bytes(4))]
        elif match is Connection.REPLY:
            found += [_load("ct", _CT_DIRECTION), _compare(_EQUAL, _REPLY)]
        elif match is Connection.TRANSLATED:
            found += [_load("ct", _CT_STATUS), _mask(_TRANSLATED_BIT), _compare(_UNEQUAL, bytes(4))]
        elif match is Packet.TO_LINK_LOCAL:
            found += [_DESTINATION, _compare(_EQUAL, _LINK_LOCAL)]
        elif match is Packet.NO_WAY_BACK:
            found += [_WAY_BACK, _compare(_EQUAL, bytes(4))]
        elif isinstance(match, HasMark):
            load = _load(*_MARKS[match.who])
            bit = struct.pack("=I", match.mark)
            found += [load, _mask(bit), _compare(_UNEQUAL, bytes(4))]
    if isinstance(rule.action, SetMark):
        name, key = _MARKS[rule.action.who]
        bit = struct.pack("=I", rule.action.mark)
        others = struct.pack("=I", ~rule.action.mark & 0xFFFFFFFF)
        found += [_load(name, key), _mask(others, flip=bit), _store(name, key)]
    elif isinstance(rule.action, Masquerade):
        found.append(("masq", {1: _number(_FULLY_RANDOM)}))
    elif isinstance(rule.action, Verdict):
        code = attribute(_VERDICT, attribute(_VERDICT_CODE, _number(_VERDICTS[rule.action])))
        found.append(("immediate", {1: _number(_VERDICT_REGISTER), 2: code}))
    return found


_CT_STATE, _CT_DIRECTION, _CT_STATUS, _CT_MARK = 0, 1, 2, 3
_META_MARK, _META_IIFNAME, _META_OIFNAME = 3, 6, 7
_MARKS = {Marked.PACKET: ("meta", _META_MARK), Marked.CONNECTION: ("ct", _CT_MARK)}
_IFNAMSIZ = 16
_TRANSLATED_BIT = struct.pack("=I", 1 << 5)
"""Of `ct status`: IPS_DST_NAT."""
_VERDICT, _VERDICT_CODE, _VERDICT_REGISTER = 2, 1, 0
_VERDICTS = {Verdict.DROP: 0, Verdict.RETURN: -5 & 0xFFFFFFFF}


def _number(value: int) -> bytes:
    return struct.pack("!I", value)


_DESTINATION: Expression = (
    "payload",
    {1: _number(_REGISTER), 2: _number(1), 3: _number(16), 4: _number(2)},
)
"""The first two bytes of an IPv4 header's destination into the register."""
_LINK_LOCAL = bytes((169, 254))
_WAY_BACK: Expression = ("fib", {1: _number(_REGISTER), 2: _number(1), 3: _number(1 | 8)})
"""The index of the link by which packets for this one's source leave into the register, if it is
that by which this one came (`fib saddr . iif oif`), else 0."""


def _link(match: Link) -> list[Expression]:
    # A name without its closing NUL is the beginning of others.
    name = os.fsencode(match.name)
    data = name if match.prefix else name.ljust(_IFNAMSIZ, b"\0")
    key = _META_IIFNAME if match.incoming else _META_OIFNAME
    return [_load("meta", key), _compare(_UNEQUAL if match.other else _EQUAL, data)]


def _load(name: str, key: int) -> Expression:
    """`key` of the packet or its connection into the register."""
    return name, {1: _number(_REGISTER), 2: _number(key)}


def _store(name: str, key: int) -> Expression:
    """The register into the mark of the packet or of its connection."""
    source = 3 if name == "meta" else 4
    return name, {2: _number(key), source: _number(_REGISTER)}


def _mask(keep: bytes, flip: bytes = bytes(4)) -> Expression:
    """The register, without the bits that are not in `keep`, and those of `flip` the other way."""
    register = {1: _number(_REGISTER), 2: _number(_REGISTER), 3: _number(len(keep))}
    return "bitwise", {**register, 4: attribute(_VALUE, keep), 5: attribute(_VALUE, flip)}


def _compare(operation: int, data: bytes) -> Expression:
    """The rule ends here unless the register is equal (or unequal) to `data`."""
    return "cmp", {1: _number(_REGISTER), 2: _number(operation), 3: attribute(_VALUE, data)}


def _fits(found: list[list[Expression]], wanted: tuple[Rule, ...]) -> bool:
    """Whether the kernel's rules are the wanted ones. It may say more of a step than we did."""
    return len(found) == len(wanted) and all(
        _is_as_wanted(rule, expressions(one)) for rule, one in zip(found, wanted, strict=True)
    )


def _is_as_wanted(found: list[Expression], wanted: list[Expression]) -> bool:
    return len(found) == len(wanted) and all(
        name == name_wanted and data_wanted.items() <= data.items()
        for (name, data), (name_wanted, data_wanted) in zip(found, wanted, strict=True)
    )


def _read_expressions(data: bytes) -> Iterator[Expression]:
    for _, element in nfnetlink.each_attribute(data):
        parts = nfnetlink.attributes(element)
        yield (
            _name(parts.get(_EXPRESSION_NAME, b"")),
            nfnetlink.attributes(parts.get(_EXPRESSION_DATA, b"")),
        )


def _name(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))

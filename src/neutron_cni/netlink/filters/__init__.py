"""Packet rules in the calling thread's network namespace: made, compared, removed.

Two back ends make the same chains (`chains`): nftables, by netlink, wherever the kernel has it, and
else iptables-legacy, by its programs. Both work beside the rules of others, whichever of the two
those are in, and touch none of them. All else of a table that an operator sees as `neutron-cni`
(nftables) or `ncni-...` (iptables) is ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from neutron_cni.netlink.filters import nftables
from neutron_cni.netlink.filters.chains import Chain, chains_of
from neutron_cni.netlink.plan import PacketRules, ReturnMark, Side
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

__all__ = ["differences", "faults", "make", "remove"]

_FAMILY = {4: "ip", 6: "ip6"}
_LOOK_SECONDS = 10.0
"""How long to look, or to remove, at most: no deadline is handed in for these."""

_without_nftables: set[int] = set()
"""The IP versions for which this process's kernel has said that it has no nf_tables."""


def make(filters: Iterable[PacketRules], side: Side, deadline: Deadline) -> tuple[PacketRules, ...]:
    """Make those of `filters` that are for `side`, where they are missing or not as wanted.

    Returns what was made: `remove` takes it back, as an error does for the pod's side. For each
    table all is changed at once, or nothing.
    What is right already stays untouched, so any number of processes may do this at once.
    Raises CniError: KERNEL (the kernel has neither back end, or refuses), TRY_AGAIN (`deadline`
    passed while others held the lock of iptables).
    """
    made: list[PacketRules] = []
    try:
        for version, items in _by_version(filters, side).items():
            made += _make(version, items, deadline)
    except BaseException:
        with suppress(CniError, OSError):
            remove(made, side)
        raise
    return tuple(made)


def remove(filters: Iterable[PacketRules], side: Side) -> None:
    """Remove the return marks among `filters` from the pod; what is missing is fine.

    The node's rules stay, as other pods use them. Raises CniError KERNEL or TRY_AGAIN.
    """
    marks = [item for item in filters if isinstance(item, ReturnMark)]
    chains = {version: _chains(items) for version, items in _by_version(marks, side).items()}
    removed: frozenset[int] = frozenset()
    try:
        if chains:
            removed = nftables.remove(chains)
    except OSError as error:
        if error.errno not in nftables.UNSUPPORTED:
            raise _refused(f"remove the packet rules from {nftables.TABLE}", error) from error
    for version in chains.keys() - removed:
        if _has_legacy(version):
            from neutron_cni.netlink.filters import legacy  # Brings subprocess, which is slow.

            legacy.remove(version, chains[version], Deadline.after(_LOOK_SECONDS))


def differences(filters: Iterable[PacketRules], side: Side) -> Iterator[str]:
    """A sentence for each chain of `filters` that is missing or changed; raises CniError KERNEL."""
    for texts in faults(filters, side).values():
        for text in texts:
            yield f"{side}: {text}"


def faults(filters: Iterable[PacketRules], side: Side) -> Mapping[PacketRules, tuple[str, ...]]:
    """What is wrong with those of `filters` that are for `side`, in words; nothing: as wanted.

    Raises CniError KERNEL.
    """
    found: dict[PacketRules, tuple[str, ...]] = {}
    for version, items in _by_version(filters, side).items():
        there, where = _read(version, _chains(items))
        for item in items:
            found[item] = tuple(
                f"{_purpose(item)}: the packet rules of the chain {chain.name} ({where}) are "
                + ("missing" if chain.name not in there else "not those that ADD made")
                for chain in chains_of(item)
                if not there.get(chain.name, False)
            )
    return found


def _make(version: int, items: Sequence[PacketRules], deadline: Deadline) -> list[PacketRules]:
    """Make `items`, all of one IP version, by the back end that the kernel has."""
    if version not in _without_nftables:
        try:
            return _make_by_nftables(version, items)
        except OSError as error:
            if error.errno not in nftables.UNSUPPORTED:
                raise _refused(f"make the packet rules of IPv{version}", error) from error
            _without_nftables.add(version)
    return _make_by_legacy(version, items, deadline)


def _make_by_nftables(version: int, items: Sequence[PacketRules]) -> list[PacketRules]:
    wanting = _wanting(items, nftables.read(version, _chains(items)))
    if wanting:
        nftables.write(version, _chains(wanting))
    return wanting


def _make_by_legacy(
    version: int, items: Sequence[PacketRules], deadline: Deadline
) -> list[PacketRules]:
    from neutron_cni.netlink.filters import legacy  # Brings subprocess, which is slow.

    try:
        wanting = _wanting(items, legacy.read(version, _chains(items), deadline))
        if wanting:
            legacy.write(version, _chains(wanting), deadline)
    except CniError as error:
        if error.code != Code.KERNEL:
            raise
        raise CniError(
            Code.KERNEL,
            f"the kernel {os.uname().release} can't have the packet rules of this pod: it has no"
            f" nf_tables for IPv{version}, and the older way fails: {error.message}",
            "boot a kernel with nf_tables (CONFIG_NF_TABLES_IPV4, _IPV6, NFT_CT, NFT_MASQ), or one"
            " with ip_tables (mangle, nat, conntrack, connmark, MASQUERADE) and install iptables",
        ) from error
    return wanting


def _wanting(items: Sequence[PacketRules], there: Mapping[str, bool]) -> list[PacketRules]:
    return [
        item for item in items if not all(there.get(chain.name, False) for chain in chains_of(item))
    ]


def _read(version: int, chains: Sequence[Chain]) -> tuple[Mapping[str, bool], str]:
    """What is there of `chains`, and where: in the back end that has any of them."""
    by_nftables = f"nftables {_FAMILY[version]} {nftables.TABLE}"
    try:
        there = nftables.read(version, chains)
    except OSError as error:
        if error.errno not in nftables.UNSUPPORTED:
            raise _refused(f"read the packet rules of IPv{version}", error) from error
        there = {}
    if there or not _has_legacy(version):
        return there, by_nftables
    from neutron_cni.netlink.filters import legacy  # Brings subprocess, which is slow.

    there = legacy.read(version, chains, Deadline.after(_LOOK_SECONDS))
    return there, f"{_FAMILY[version]}tables-legacy" if there else by_nftables


def _has_legacy(version: int) -> bool:
    """Whether this namespace has a table of iptables-legacy; asking for one would make it."""
    try:
        with open(f"/proc/thread-self/net/{_FAMILY[version]}_tables_names") as stream:
            return bool(stream.read())
    except OSError:
        return False


def _purpose(item: PacketRules) -> str:
    if isinstance(item, ReturnMark):
        return f"what comes in by {item.link} over IPv{item.version} is not answered by it"
    return f"what comes by {item.prefix}* over IPv{item.version} keeps its source"


def _by_version(filters: Iterable[PacketRules], side: Side) -> Mapping[int, list[PacketRules]]:
    found: dict[int, list[PacketRules]] = {}
    for item in filters:
        if item.side is side:
            found.setdefault(item.version, []).append(item)
    return found


def _chains(items: Sequence[PacketRules]) -> list[Chain]:
    return [chain for item in items for chain in chains_of(item)]


def _refused(doing: str, error: OSError) -> CniError:
    hint = (
        "CAP_NET_ADMIN is needed"
        if isinstance(error, PermissionError)
        else f"`nft list ruleset` shows what is there; the tables {nftables.TABLE} are ours alone"
    )
    return CniError(Code.KERNEL, f"cannot {doing} (nftables): {error.strerror or error}", hint)

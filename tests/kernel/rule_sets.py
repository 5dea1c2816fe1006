"""The packet rules in a namespace: ours, those of others, and what takes them all away."""

from __future__ import annotations

import os

from neutron_cni.netlink import nfnetlink
from neutron_cni.netlink.filters import nftables
from tests.kernel.world import World, inside


def flush_nftables() -> None:
    """As `nft flush ruleset` does in the caller's namespace."""
    with nfnetlink.connect() as sock:
        for family in nfnetlink.FAMILY.values():
            nfnetlink.commit(sock, [nfnetlink.Change(nfnetlink.DELTABLE, 0, family, b"")])


def with_jumps(rules: dict[str, int], back_end: str) -> dict[str, int]:
    """What `ours` finds of chains with so many rules: in iptables a jump leads to each."""
    jumps = {f"-> {name}": 1 for name in rules} if back_end == "legacy" else {}
    return {**rules, **jumps}


def in_nftables(version: int) -> dict[str, int]:
    """The number of rules in each chain of our table in the caller's namespace."""
    sock = nfnetlink.connect()
    with sock:
        family = nfnetlink.FAMILY[version]
        rules = nfnetlink.dump(sock, nfnetlink.GETRULE, family, b"")
        chains = nfnetlink.dump(sock, nfnetlink.GETCHAIN, family, b"")
    table = nftables.TABLE.encode() + b"\0"
    return {
        os.fsdecode(chain[3].rstrip(b"\0")): sum(
            1 for rule in rules if rule[1] == table and rule[2] == chain[3]
        )
        for chain in chains
        if chain[1] == table
    }


def ours(world: World, name: str, version: int) -> dict[str, int]:
    """The number of rules in each of our chains, and of the jumps to it ("-> CHAIN")."""
    found = inside(world.path(name), lambda: in_nftables(version))
    program = "iptables-legacy-save" if version == 4 else "ip6tables-legacy-save"
    for line in world.do(name, program).splitlines():
        words = line.split()
        if line.startswith(":ncni-"):
            found[words[0][1:]] = 0
        elif line.startswith("-A ncni-"):
            found[words[1]] += 1
        elif words[-1:] and words[-1].startswith("ncni-"):
            found[f"-> {words[-1]}"] = found.get(f"-> {words[-1]}", 0) + 1
    return found


def program(back_end: str, version: int = 4) -> str:
    """The program with which others make rules in the rule set of `back_end`."""
    name = "iptables" if version == 4 else "ip6tables"
    return f"{name}-nft" if back_end == "nftables" else f"{name}-legacy"

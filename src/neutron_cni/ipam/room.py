"""How much room there is for further pods: what Neutron showed, as counts, and what they mean.

Pure, and light: STATUS reads it from the store in a process that imports nothing of a cloud.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from neutron_cni.values.errors import CniError, Code

MOST_COUNTED = 1_000_000_000
"""Addresses; an IPv6 subnet has more than a number in JSON can say, and nobody needs to know."""


class SubnetRoom(msgspec.Struct, frozen=True):
    """A subnet on offer; `free`: addresses of its pools that no port has, MOST_COUNTED at most."""

    name: str
    cidr: str
    free: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.cidr else 4

    def __str__(self) -> str:
        return f"{self.name} ({self.cidr})"


class Limit(msgspec.Struct, frozen=True):
    """So many of so many; `limit` None: there is none, or nobody told."""

    used: int
    limit: int | None

    @property
    def reached(self) -> bool:
        """Whether one more would be refused."""
        return self.limit is not None and self.used >= self.limit


class Capacity(msgspec.Struct, frozen=True):
    """What one network has left; None for what its mode does not need, or the cloud won't tell."""

    subnets: tuple[SubnetRoom, ...]
    ports: Limit | None = None
    """Of the project's quota."""
    pairs: Limit | None = None
    """Allowed address pairs of the VM's port."""
    nics: Limit | None = None
    """NICs of the VM."""
    dhcp: tuple[str, ...] = ()
    """Those of the subnets, in words, whose DHCP may give the node the address of a pod."""
    but: str = ""
    """The end of a sentence: which other subnets can't serve pods, and why."""


def lack(capacity: Capacity) -> CniError | None:
    """Why one more pod could not get an address; None if it could."""
    for version in sorted({subnet.version for subnet in capacity.subnets}):
        family = [subnet for subnet in capacity.subnets if subnet.version == version]
        if all(subnet.free <= 0 for subnet in family):
            return no_address(map(str, family), but=capacity.but)
    if capacity.ports is not None and capacity.ports.reached:
        return CniError(
            Code.EXHAUSTED,
            f"the project's quota of {capacity.ports.limit} ports is used up "
            f"({capacity.ports.used} used)",
            "ask for a larger quota, or delete unused ports",
        )
    if capacity.pairs is not None and capacity.pairs.reached:
        return CniError(
            Code.EXHAUSTED,
            f"the VM's port has {capacity.pairs.used} of {capacity.pairs.limit} allowed address "
            "pairs",
            "raise max_allowed_address_pair in neutron.conf, or use mode fixed-ips",
        )
    if capacity.nics is not None and capacity.nics.reached:
        return no_nic(capacity.nics)
    return None


def dangers(capacity: Capacity) -> list[str]:
    """Sentences about what may happen to the node because of its pods' addresses."""
    return [
        f"subnet {subnet} has DHCP, and pods' addresses of it are on the node's own port, so DHCP "
        "may give the node a pod's address in the place of its own: with ML2/OVN the first in the "
        "order of strings, when it boots; with ML2/OVS the last, and each renewal of its own is "
        "refused while a pod's sorts after it. Give pods a subnet without DHCP (`subnets`), or the "
        "node a static address, or pods mode address-pairs"
        for subnet in capacity.dhcp
    ]


def no_nic(nics: Limit) -> CniError:
    """The error when the VM has all the NICs that it may have."""
    return CniError(
        Code.EXHAUSTED,
        f"this VM has {nics.used} NICs, its own included, and may have {nics.limit}",
        "`maxNICs` of the ipam section or the flavor says so, or Nova refused one more twice; "
        "spread the pods over more nodes",
    )


def no_address(subnets: Iterable[str], resting: int = 0, but: str = "") -> CniError:
    """The error when none of these has a free address; `resting`: how many soon will be."""
    return CniError(
        Code.EXHAUSTED,
        f"no free address in subnet {', '.join(subnets)}"
        + (f"; {resting} of this node's rest and will be free soon" if resting else "")
        + but,
        "free addresses, enlarge the allocation pool, or add a subnet to `subnets`",
    )

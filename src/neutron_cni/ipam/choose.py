"""Which addresses to ask Neutron for. Pure: facts in, picks and refusals out.

We name the addresses ourselves, at random among the free ones, instead of letting Neutron choose
and looking for the difference: what was intended is then known before the call, so an answer that
was lost is resolved by reading, and a rival's address can't be taken for ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from neutron_cni.ipam.room import no_address
from neutron_cni.openstack.types import FixedIp, Subnet
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

_RANDOM_TRIES = 64
_COUNTABLE = 1 << 17
_ROOMY = 4096 - 256
"""Neutron 29 chooses at random among the lowest 1000 free addresses of a pool."""


@dataclass(frozen=True, slots=True)
class Want:
    """One lease's need: addresses asked for by name, else one of each family on offer."""

    id: int
    requested: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """The subnets to take addresses from, in the order to try them, of one or both families.

    `left_out`: sentences that name those that can't serve, and why.
    """

    subnets: tuple[Subnet, ...]
    left_out: tuple[str, ...] = ()

    @property
    def but(self) -> str:
        """What an error's message says after the names of the subnets that were tried."""
        return f"; left out: {', '.join(self.left_out)}" if self.left_out else ""


@dataclass(slots=True)
class Choice:
    """What to ask for, and which wants can't be met (each with its own reason)."""

    picks: dict[int, tuple[FixedIp, ...]] = field(default_factory=dict)
    failures: dict[int, CniError] = field(default_factory=dict)


def choose(
    wants: Iterable[Want],
    offer: Offer,
    used: Collection[IPAddress],
    resting: Collection[IPAddress],
    random: Random,
) -> Choice:
    """Choose addresses for every lease in `wants`.

    `used`: addresses that nobody may be given; `resting` (part of `used`): those of this node
    that wait out their quarantine, for the error's words.
    """
    choice = Choice()
    taken = set(used).union(*map(_routers, offer.subnets))
    for want in wants:
        try:
            picked = _for_one(want, offer, taken, resting, random)
        except CniError as error:
            choice.failures[want.id] = error
            continue
        taken.update(item.address for item in picked)
        choice.picks[want.id] = picked
    return choice


def _for_one(
    want: Want,
    offer: Offer,
    taken: Collection[IPAddress],
    resting: Collection[IPAddress],
    random: Random,
) -> tuple[FixedIp, ...]:
    if want.requested:
        return tuple(_requested(item, offer, taken, resting) for item in want.requested)
    picked: list[FixedIp] = []
    for family in _families(offer.subnets).values():
        picked.append(_free_in(replace(offer, subnets=tuple(family)), taken, resting, random))
    return tuple(picked)


def _families(subnets: Sequence[Subnet]) -> Mapping[int, list[Subnet]]:
    families: dict[int, list[Subnet]] = {}
    for subnet in sorted(subnets, key=lambda item: item.version):
        families.setdefault(subnet.version, []).append(subnet)
    return families


def _requested(
    address: IPAddress,
    offer: Offer,
    taken: Collection[IPAddress],
    resting: Collection[IPAddress],
) -> FixedIp:
    subnet = subnet_of_requested(address, offer)
    if address in resting:
        raise still_resting(address)
    if address in taken:
        raise CniError(
            Code.CONFLICT,
            f"the requested address {address} is in use",
            f"`openstack port list --fixed-ip ip-address={address}` shows by what",
        )
    return FixedIp(subnet.id, address)


def subnet_of_requested(address: IPAddress, offer: Offer) -> Subnet:
    """The subnet that has an address which was asked for by name. Raises CniError.

    Neutron gives a gateway's address to whoever asks: the pod would answer ARP in its place, and
    the whole subnet would lose its way out. Addresses outside of the allocation pools are fine.
    """
    subnet = next((item for item in offer.subnets if address in item.cidr), None)
    if subnet is None:
        cidrs = ", ".join(str(item.cidr) for item in offer.subnets)
        raise CniError(
            Code.INVALID_CONFIG,
            f"the requested address {address} is in none of the subnets {cidrs}{offer.but}",
            "ask for another address, or add its subnet to `subnets`",
        )
    if address in _no_hosts(subnet):
        raise CniError(
            Code.INVALID_CONFIG,
            f"the requested address {address} is no host's: it is {_no_hosts(subnet)[address]} of "
            f"subnet {named(subnet)}",
            "ask for another address",
        )
    if address in _routers(subnet):
        raise CniError(
            Code.CONFLICT,
            f"the requested address {address} is {_routers(subnet)[address]} of subnet "
            f"{named(subnet)}",
            "ask for another address: hosts would send to the pod what is for the router",
        )
    return subnet


def _no_hosts(subnet: Subnet) -> dict[IPAddress, str]:
    """Addresses that stand for the subnet itself, and for what of it; Neutron refuses them too."""
    first, last = subnet.cidr[0], subnet.cidr[-1]
    if subnet.version == 6:
        return {first: "the routers' anycast address"} if subnet.cidr.prefixlen < 127 else {}
    whole = {first: "the network address", last: "the broadcast address"}
    return whole if subnet.cidr.prefixlen < 31 else {}


def _routers(subnet: Subnet) -> dict[IPAddress, str]:
    """Addresses that the subnet sends traffic to, whether a Neutron port has them or not."""
    found = dict.fromkeys(subnet.routers, "the gateway")
    found |= {via: f"the next hop of the route to {to}" for to, via in subnet.host_routes}
    return found | ({subnet.gateway: "the gateway"} if subnet.gateway is not None else {})


def _free_in(
    offer: Offer,
    taken: Collection[IPAddress],
    resting: Collection[IPAddress],
    random: Random,
) -> FixedIp:
    for subnet in offer.subnets:
        address = _free_address(subnet, taken, random)
        if address is not None:
            return FixedIp(subnet.id, address)
    waiting = sum(1 for item in resting if any(item in subnet.cidr for subnet in offer.subnets))
    raise exhausted(offer, waiting)


def exhausted(offer: Offer, resting: int = 0) -> CniError:
    """The error when none of these has a free address; `resting`: how many soon will be."""
    return no_address(map(named, offer.subnets), resting, offer.but)


def named(subnet: Subnet) -> str:
    """A subnet in a message."""
    return f"{subnet.name or subnet.id} ({subnet.cidr})"


def still_resting(address: IPAddress) -> CniError:
    """The error for a requested address that is in quarantine on this node."""
    return CniError(
        Code.TRY_AGAIN,
        f"the requested address {address} rests after its last use",
        "it is free again after `quarantine` seconds; the runtime will try again",
    )


def free_count(subnet: Subnet, used: Iterable[IPAddress]) -> int:
    """How many addresses of the allocation pools are not in `used`."""
    size = sum(int(last) - int(first) + 1 for first, last in subnet.pools)
    return size - sum(1 for item in {*used, *_routers(subnet)} if _in_pools(subnet, item))


def _free_address(subnet: Subnet, taken: Collection[IPAddress], random: Random) -> IPAddress | None:
    sizes = [int(last) - int(first) + 1 for first, last in subnet.pools]
    total = sum(sizes)
    if total <= 0:
        return None
    # We choose where Neutron itself hardly would. If another tool had Neutron choose an address for
    # our port, and Neutron chose the one that we are adding, both updates would be answered 200.
    least = total // 2 if total >= _ROOMY else 0
    for first in (least, 0):
        for _ in range(_RANDOM_TRIES):
            address = _nth(subnet, random.randrange(first, total))
            if address not in taken:
                return address
    if total > _COUNTABLE:
        return None
    free = [item for n in range(total) if (item := _nth(subnet, n)) not in taken]
    return random.choice(free) if free else None


def _nth(subnet: Subnet, n: int) -> IPAddress:
    for first, last in subnet.pools:
        size = int(last) - int(first) + 1
        if n < size:
            return first + n
        n -= size
    raise IndexError(n)


def _in_pools(subnet: Subnet, address: IPAddress) -> bool:
    return any(
        address.version == first.version and int(first) <= int(address) <= int(last)
        for first, last in subnet.pools
    )

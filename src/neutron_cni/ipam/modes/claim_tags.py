"""Which tags of a VM's port hold our claims: written, folded together, taken off.

While a port has few tags each claim has one of its own, so that people can read them. Above that
new ones share a tag, and older ones are folded into it. At no moment is a claim without a tag:
what takes the place of others is written first, with a serial of its own, and only then do they go.
A process may die, or another change the tags, between any two of these calls: a claim that two tags
hold is one claim, and whoever withdraws it takes it out of both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from string import ascii_lowercase, digits

from neutron_cni.ipam.claim import Claim, claims_in, claims_of, holds_several, tags_of_several
from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.neutron import MAX_TAG
from neutron_cni.openstack.types import Port

FEW_TAGS = 30
"""Up to so many tags on the port, ours and others', each claim has one of its own. The rest of the
50 that a port has on clouds which count them is for others, and for what is written before
something else may go.
"""
MOST_FOLDED = 10
"""Tags that one call folds into new ones: each costs a call of Neutron to take it off."""


def write(context: Context, port: Port, claims: Iterable[Claim]) -> bool:
    """Write the claims that the port's tags lack; whether there were any.

    Raises CniError: TagLimit where the port has no room for another tag.
    """
    missing = set(claims) - claims_in(port.tags)
    if not missing:
        return False
    if len(port.tags) + len(missing) <= FEW_TAGS or context.neutron.longest_tag() <= MAX_TAG:
        context.neutron.add_tags(port.id, sorted(claim.tag for claim in missing))
        return True
    folded, tags = _folded(context, port, missing)
    context.neutron.add_tags(port.id, tags)
    for tag in folded:
        context.neutron.remove_tag(port.id, tag)
    return True


def withdraw(context: Context, port: Port, claims: Collection[Claim]) -> bool:
    """Take the claims off the port; whether it had any. Claims that shared a tag with them stay.

    Tags that hold nothing else go first: on a port that has all the tags it may have, that makes
    room. Raises CniError: TagLimit where there is none to write those anew; some of the claims are
    off the port then.
    """
    leaving = frozenset(claims)
    holding = sorted(tag for tag in port.tags if claims_of(tag) & leaving)
    shared = [tag for tag in holding if not claims_of(tag) <= leaving]
    for tag in holding:
        if tag not in shared:
            context.neutron.remove_tag(port.id, tag)
    # Also those that other tags hold too: who folded them may be about to take such a tag off.
    remaining = claims_in(shared) - leaving
    if remaining:
        context.neutron.add_tags(port.id, _several(context, port, remaining))
    for tag in shared:
        context.neutron.remove_tag(port.id, tag)
    return bool(holding)


def _folded(context: Context, port: Port, missing: set[Claim]) -> tuple[list[str], list[str]]:
    """Tags of ours to take off once the second list was written, which holds their claims too.

    As many as leave the fewest tags on the port, those with the fewest claims first.
    """
    ours = sorted(
        (tag for tag in port.tags if _is_ours(tag, context.install)),
        key=lambda tag: (len(claims_of(tag)), tag),
    )
    best: tuple[list[str], list[str]] = [], _several(context, port, missing)
    for number in range(1, min(len(ours), MOST_FOLDED) + 1):
        folded = ours[:number]
        tags = _several(context, port, missing | claims_in(folded))
        if len(tags) - number < len(best[1]) - len(best[0]):
            best = folded, tags
    return best


def _is_ours(tag: str, install: str) -> bool:
    return any(claim.install == install for claim in claims_of(tag))


def _several(context: Context, port: Port, claims: Iterable[Claim]) -> list[str]:
    """New tags for claims, none of which the port has had as long as anybody may remember it."""
    used = {tag.split(":")[2] for tag in port.tags if holds_several(tag)}
    while True:
        serial = "".join(context.random.choices(ascii_lowercase + digits, k=4))
        if serial not in used:
            return tags_of_several(claims, context.neutron.longest_tag(), serial)

"""Claims: Neutron tags on a VM's port that say which address was taken for which attachment.

A claim is written before the address is added to the port, and read back before the port is
changed. Of two writers that want the same address of one port, each writes its claim and then
reads all: at least the later one sees the other's and withdraws, so none can have what another
has (both may withdraw, and pick anew). `If-Match` does not give that, as overlapping updates all
succeed. A claim also lets a lost store be rebuilt, and tells our addresses from an operator's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address

from neutron_cni.store.machine import MACHINE_ID, PRODUCT_UUID, text_of
from neutron_cni.values.address import IPAddress

_PREFIX = "ncni"


@dataclass(frozen=True, slots=True)
class Claim:
    """`install` (6 hex digits) took `address` for the attachment with `token` (8 hex digits)."""

    address: IPAddress
    install: str
    token: str

    @property
    def tag(self) -> str:
        """At most 60 characters (with the longest IPv6 address): every release takes that."""
        return f"{_PREFIX}:{self.address}:{self.install}:{self.token}"


def install_id(node: str, state_dir: str) -> str:
    """Names the store that owns a claim: survives the store's loss, differs between stores."""
    # The machine id alone is the same on machines made from one image that was not prepared for it.
    machine = "\0".join(map(text_of, (MACHINE_ID, PRODUCT_UUID)))
    return sha256(f"{machine}\0{node}\0{state_dir}".encode()).hexdigest()[:6]


def claims_in(tags: Iterable[str]) -> frozenset[Claim]:
    """The claims among a port's tags; tags of others are passed over."""
    return _claims_in(frozenset(tags))


@lru_cache(maxsize=4)
def _claims_in(tags: frozenset[str]) -> frozenset[Claim]:
    """Cached, as the claims of one port are asked for once per lease."""
    return frozenset(claim for tag in tags if (claim := _parse(tag)) is not None)


def _parse(tag: str) -> Claim | None:
    prefix, _, rest = tag.partition(":")
    middle, _, token = rest.rpartition(":")
    text, _, install = middle.rpartition(":")
    if prefix != _PREFIX or not (text and install and token):
        return None
    try:
        return Claim(ip_address(text), install, token)
    except ValueError:
        return None

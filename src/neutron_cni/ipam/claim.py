"""Claims: Neutron tags on a VM's port that say which address was taken for which attachment.

A claim is written before the address is added to the port, and read back before the port is
changed. Of two writers that want the same address of one port, each writes its claim and then
reads all: at least the later one sees the other's and withdraws, so none can have what another
has (both may withdraw, and pick anew). `If-Match` does not give that, as overlapping updates all
succeed. A claim also lets a lost store be rebuilt, and tells our addresses from an operator's.

A port may have hundreds of addresses, and on some clouds no more than 50 tags (Neutron 29 counts
those of one POST, which is how ours are written, and not what the port has already). So a tag may
hold several claims of one installation. Which claims there are does not depend on how they are
spread over tags: one that two tags hold is one claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address

from neutron_cni.store.machine import MACHINE_ID, PRODUCT_UUID, text_of
from neutron_cni.values.address import IPAddress

_ONE = "ncni"
_SEVERAL = "ncni2"


@dataclass(frozen=True, slots=True)
class Claim:
    """`install` (6 hex digits) took `address` for the attachment with `token` (8 hex digits)."""

    address: IPAddress
    install: str
    token: str

    @property
    def tag(self) -> str:
        """Of this claim alone; at most 60 characters (with the longest IPv6 address)."""
        return f"{_ONE}:{self.address}:{self.install}:{self.token}"

    @property
    def _entry(self) -> str:
        return f"{self.address}={self.token}"


def tags_of_several(claims: Iterable[Claim], longest: int, serial: str) -> list[str]:
    """As few tags as hold these claims of one installation, each of `longest` characters at most.

    "ncni2:INSTALL:SERIAL:ADDRESS=TOKEN_ADDRESS=TOKEN". `serial` (a few letters) must be another
    one each time: a tag that is written must never be the same as one which somebody is about to
    delete, or its claims would go with it. A claim that is too long for that has a tag of its own.
    """
    tags: list[str] = []
    for claim in sorted(claims, key=lambda item: item.tag):
        alone = f"{_SEVERAL}:{claim.install}:{serial}:{claim._entry}"
        if tags and tags[-1].startswith(_SEVERAL) and len(tags[-1]) + len(claim._entry) < longest:
            tags[-1] += f"_{claim._entry}"
        else:
            tags.append(alone if len(alone) <= longest else claim.tag)
    return tags


def holds_several(tag: str) -> bool:
    """Whether the tag is of the form that has room for several claims."""
    return tag.startswith(f"{_SEVERAL}:")


def install_id(node: str, state_dir: str) -> str:
    """Names the store that owns a claim: survives the store's loss, differs between stores."""
    # The machine id alone is the same on machines made from one image that was not prepared for it.
    machine = "\0".join(map(text_of, (MACHINE_ID, PRODUCT_UUID)))
    return sha256(f"{machine}\0{node}\0{state_dir}".encode()).hexdigest()[:6]


def claims_in(tags: Iterable[str]) -> frozenset[Claim]:
    """The claims among a port's tags; tags of others are passed over."""
    return _claims_in(frozenset(tags))


def claims_of(tag: str) -> frozenset[Claim]:
    """The claims that one tag holds."""
    prefix, _, rest = tag.partition(":")
    if prefix == _ONE:
        middle, _, token = rest.rpartition(":")
        text, _, install = middle.rpartition(":")
        return _parsed(install, [(text, token)])
    if prefix == _SEVERAL:
        install, _, rest = rest.partition(":")
        entries = [item.partition("=") for item in rest.partition(":")[2].split("_")]
        return _parsed(install, [(text, token) for text, _, token in entries])
    return frozenset()


@lru_cache(maxsize=4)
def _claims_in(tags: frozenset[str]) -> frozenset[Claim]:
    """Cached, as the claims of one port are asked for once per lease."""
    return frozenset().union(*map(claims_of, tags))


def _parsed(install: str, entries: Iterable[tuple[str, str]]) -> frozenset[Claim]:
    found = set()
    for text, token in entries:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if install and token:
            found.add(Claim(address, install, token))
    return frozenset(found)

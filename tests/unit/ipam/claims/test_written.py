"""How claims are written in tags, and read."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from neutron_cni.ipam.claim import Claim, claims_in, claims_of, holds_several, tags_of_several
from tests.unit.ipam.claims.made import INSTALL, claims

LONGEST_ADDRESS = "fd00:1111:2222:3333:4444:5555:6666:7777"


def test_a_claim_of_its_own_is_as_it_always_was() -> None:
    tag = "ncni:10.10.4.156:5844f7:38dff9a8"
    assert claims_of(tag) == {Claim(ip_address("10.10.4.156"), "5844f7", "38dff9a8")}
    assert Claim(ip_address("10.10.4.156"), "5844f7", "38dff9a8").tag == tag


def test_a_tag_of_several_reads_back_as_them() -> None:
    many = [*claims(*range(5)), Claim(ip_address("fd00::5"), INSTALL, "38dff9a8")]
    (tag,) = tags_of_several(many, 255, "a1b2")
    assert tag.startswith("ncni2:5844f7:a1b2:10.100.100.100=00000000_")
    assert claims_of(tag) == set(many)
    assert holds_several(tag)


def test_fifty_tags_hold_five_hundred_pods() -> None:
    many = [Claim(ip_address("10.10.0.0") + 7 * n, INSTALL, f"{n:08x}") for n in range(500)]
    tags = tags_of_several(many, 255, "a1b2")
    assert len(tags) <= 50
    assert max(map(len, tags)) <= 255
    assert claims_in(tags) == set(many)


@pytest.mark.parametrize("longest", [60, 255])
def test_no_tag_is_longer_than_it_may_be(longest: int) -> None:
    many = [*claims(*range(30)), Claim(ip_address(LONGEST_ADDRESS), INSTALL, "38dff9a8")]
    tags = tags_of_several(many, longest, "a1b2")
    assert max(map(len, tags)) <= longest
    assert claims_in(tags) == set(many)


@pytest.mark.parametrize(
    "tag",
    [
        "ncni",
        "ncni2",
        "ncni:",
        "ncni2:5844f7",
        "ncni2:5844f7:a1b2:",
        "ncni2:5844f7:a1b2:_=_",
        "ncni2::a1b2:10.0.0.5=38dff9a8",
        "ncni3:5844f7:a1b2:10.0.0.5=38dff9a8",
        "ncni-node=node1",
        "ncni:nonsense:5844f7:38dff9a8",
    ],
)
def test_what_is_no_claim_is_passed_over(tag: str) -> None:
    assert claims_of(tag) == frozenset()


def test_of_a_tag_that_somebody_edited_the_claims_that_can_be_read_count() -> None:
    tag = "ncni2:5844f7:a1b2:10.0.0.5=38dff9a8_10.0.0=1_10.0.0.6=_10.0.0.7=38dff9a9"
    assert {str(item.address) for item in claims_of(tag)} == {"10.0.0.5", "10.0.0.7"}

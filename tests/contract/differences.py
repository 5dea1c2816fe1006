"""Where an old Neutron does not keep the contract: what it does instead, and what we do about it.

One list for all that ask: the suite on the old Neutron and on the fake of it, where just these
behaviours must fail, and the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Difference:
    """Something in which releases differ."""

    behaviours: tuple[str, ...]
    """The tests of the suite that show it, ``Class::test``; none where what it is about is not in
    the suite, or does not happen each time."""
    instead: str
    """What the old release does."""
    handled: str
    """What the product does about it."""


NEUTRON_21 = (
    Difference(
        (
            "TestListing::test_extensions",
            "TestTags::test_post_adds_and_forgets_none",
            "TestTags::test_post_of_several_is_one_revision",
            "TestTags::test_a_tag_with_a_slash_can_not_be_taken_off_by_name",
            "TestTags::test_fifty_in_one_request_but_more_in_all",
            "TestTags::test_what_is_refused",
        ),
        "no extension `tag-creation`: a POST of several tags is 404, each is a PUT of its own, "
        "which takes none with a slash",
        "tags are put on one by one, and each has 60 characters at most: fewer claims share one",
    ),
    Difference(
        (),
        "of writers that tag a port at the same moment, some are told 500 (2 of 40 in pairs, 19 of "
        "80 in fours)",
        "the port is read, and tags that it lacks are put on once more",
    ),
    Difference(
        ("TestTags::test_case_matters", "TestListing::test_ports_by_filters"),
        "tags that differ only in case are the same one",
        "claims are lower case; of ports that are found by tags, those with just these count",
    ),
    Difference(
        ("TestTags::test_nor_can_one_that_is_not_ascii",),
        "a tag that is not ASCII can be taken off",
        "all tags of ours are ASCII",
    ),
    Difference(
        ("TestTags::test_of_a_port_that_is_gone_neutron_fails",),
        "tagging a port that is gone is 404, not 500",
        "both are read as what they mean",
    ),
    Difference(
        (
            "TestFailures::test_an_address_with_a_floating_ip",
            "TestFloatingIps::test_it_can_not_be_taken_off",
            "TestFloatingIps::test_it_must_be_named_to_stay",
            "TestFloatingIps::test_of_several_only_the_one_with_the_smallest_id_is_minded",
        ),
        "an address that a floating IP points at can be taken off a port, and the floating IP goes "
        "on pointing at it",
        "the port's floating IPs are read before addresses leave it, and these addresses stay",
    ),
    Difference(
        ("TestPorts::test_a_mac_is_kept_in_lower_case_and_is_unique",),
        "the MAC that a port is made with is kept as it was written, also in upper case",
        "MACs are made lower case as they are read",
    ),
    Difference(
        ("TestRevisions::test_no_change_is_no_revision",),
        "a PUT of a port is a revision also if it changes nothing",
        "none is sent that changes nothing; a revision that is stale is read again",
    ),
    Difference(
        ("TestPorts::test_quota",),
        "a quota below what is in use is accepted",
        "a quota is full when no less is used than it has",
    ),
    Difference(
        (),
        "a router's 31st route is 400 `RoutesExhausted` (later 409 `OverQuota`)",
        "nothing yet: no routes of a router are made",
    ),
)
"""Neutron 21.1 (Zed)."""


def expect(test: pytest.Item, differences: tuple[Difference, ...]) -> None:
    """Have a test of the suite fail, as an assertion of its own, if it is of a difference; it is an
    error if it passes."""
    assert isinstance(test, pytest.Function)
    assert test.cls is not None
    name = f"{test.cls.__name__}::{test.originalname}"
    for difference in differences:
        if name in difference.behaviours:
            failures = (AssertionError, pytest.fail.Exception)
            mark = pytest.mark.xfail(strict=True, raises=failures, reason=difference.instead)
            test.add_marker(mark)

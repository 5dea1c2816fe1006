"""What the probe calls damage of a transfer, by the checksums of its parts."""

from __future__ import annotations

import pytest

from neutron_cni_lab.demo.probe import damage
from neutron_cni_lab.demo.traffic import Transfer

SENT = [11, 22, 33]


@pytest.mark.parametrize(
    ("came", "found"),
    [
        ([11, 22, 33], []),
        ([11, 99, 33], [(1, None)]),
        ([22, 11, 33], [(0, 1), (1, 0)]),
        ([11, 22], [(2, None)]),
        ([], [(0, None), (1, None), (2, None)]),
        ([11, 22, 33, 44], [(3, None)]),
    ],
    ids=["all", "another", "exchanged", "cut", "nothing", "too much"],
)
def test_only_what_came_whole_and_in_place_is_intact(
    came: list[int], found: list[tuple[int, int | None]]
) -> None:
    assert damage(SENT, came) == found
    assert Transfer("a", "b", 3000, damage(SENT, came), 1.0).intact is (came == SENT)

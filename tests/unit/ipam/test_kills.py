"""Kill -9 at every point, in every mode: nothing leaks, nobody shares, nobody loses.

`NEUTRON_CNI_KILLS` sets how many processes die in all (`./bench reliability` does it for
docs/reliability.md).
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import neutron_cni
from neutron_cni.values.ipam_config import Mode
from tests.reliability import kills, tracer
from tests.reliability.zygote import Zygote

KILLS = int(os.environ.get("NEUTRON_CNI_KILLS", "60"))


def test_the_lines_where_the_world_changes_are_found_in_the_product() -> None:
    """The tracer knows them by their text, and nobody would miss a mark."""
    sources = [path.read_text() for path in Path(neutron_cni.__file__).parent.rglob("*.py")]
    for text in (tracer.COMMIT, tracer.SEND, tracer.ANSWERED):
        assert sum(source.count(text) for source in sources) == 1, text


@pytest.mark.parametrize(
    ("mode", "warm"), [*((mode, 0) for mode in Mode), (Mode.NOVA_INTERFACE, 2)]
)
def test_no_kill_leaks_an_address_or_gives_it_to_two(zygote: Zygote, mode: Mode, warm: int) -> None:
    tally = kills.run(zygote, mode, random.Random(KILLS), KILLS // len(Mode), warm)
    print(tally)
    assert tally.kills >= KILLS // len(Mode)
    assert not tally.stories, "\n\n".join(tally.stories)

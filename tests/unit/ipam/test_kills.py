"""Kill -9 at every point, in every mode: nothing leaks, nobody shares, nobody loses.

`NEUTRON_CNI_KILLS` sets how many processes die in all (`./bench reliability` does it for
docs/reliability.md).
"""

from __future__ import annotations

import os
import random

import pytest

from neutron_cni.values.ipam_config import Mode
from tests.reliability import kills
from tests.reliability.zygote import Zygote

KILLS = int(os.environ.get("NEUTRON_CNI_KILLS", "60"))


@pytest.mark.parametrize("mode", list(Mode))
def test_no_kill_leaks_an_address_or_gives_it_to_two(zygote: Zygote, mode: Mode) -> None:
    tally = kills.run(zygote, mode, random.Random(KILLS), KILLS // len(Mode))
    print(tally)
    assert tally.kills >= KILLS // len(Mode)
    assert not tally.stories, "\n\n".join(tally.stories)

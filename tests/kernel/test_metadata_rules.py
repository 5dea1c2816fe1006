"""The rules that docs/how-to/metadata.md gives: the node asks the metadata service, no pod does."""

from __future__ import annotations

import pytest

from tests.kernel.pods import make_pod
from tests.kernel.world import OUTSIDE, World
from tests.support.documented import block, commands

METADATA = "169.254.169.254"


@pytest.mark.parametrize("rp_filter", ["0", "1", "2"])
def test_the_node_reaches_it_and_pods_do_not(world: World, rp_filter: str) -> None:
    world.ip("router", "addr", "add", f"{METADATA}/32", "dev", "lo")
    world.do("node", "sh", "-c", f"echo {rp_filter} >/proc/sys/net/ipv4/conf/up0/rp_filter")
    pod = make_pod(world, "pod1")
    pod.apply()
    assert world.pings("pod1", METADATA)

    rules = commands("metadata.md", "sh metadata")
    for words in rules:
        world.do("node", *words)

    assert world.pings("node", METADATA)
    assert not world.pings("pod1", METADATA, seconds=2)
    assert world.pings("pod1", OUTSIDE)


def test_the_unit_makes_the_rules_that_the_page_explains() -> None:
    unit = block("metadata.md", "ini")
    started = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart")]
    assert [line.split() for line in started] == commands("metadata.md", "sh metadata")

"""A plugin that is not the first of its chain: its addresses are those of the result before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neutron_cni.cni.request import parse
from neutron_cni.plugins import RECIPES, Kind, Recipe
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.result import Result
from tests.support.cni_doubles import World, environment

PREVIOUS = {
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"address": "10.0.0.5/24", "interface": 0}],
}


@pytest.fixture(autouse=True)
def chained_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "test-chained", Recipe(Kind.CHAINED))


def call(world: World, command: str = "ADD", **changes: Any) -> Result | None:
    document = {"cniVersion": "1.1.0", "name": "pods", "type": "test-chained"}
    text = json.dumps({**document, "prevResult": PREVIOUS, **changes}).encode()
    return world.engine.handle(parse("test-chained", environment(command), text, with_ipam=False))


def test_it_gets_the_addresses_of_the_result_before_and_asks_no_ipam() -> None:
    world = World()
    result = call(world)
    assert result is not None
    assert [str(item.address) for item in result.ips] == ["10.0.0.5/24"]
    assert world.ipam.changes == []


def test_a_mac_is_refused_rather_than_ignored_as_another_plugin_makes_the_interface() -> None:
    world = World()
    with pytest.raises(CniError, match="02:00:00:00:00:09") as caught:
        call(world, runtimeConfig={"mac": "02:00:00:00:00:09"})
    assert caught.value.code == Code.UNSUPPORTED_FIELD
    assert world.changes == []


@pytest.mark.parametrize("changes", [{"prevResult": None}, {"prevResult": {"ips": []}}])
def test_without_addresses_before_it_add_is_refused(changes: dict[str, Any]) -> None:
    world = World()
    with pytest.raises(CniError, match="prevResult") as caught:
        call(world, **changes)
    assert caught.value.code == Code.INVALID_CONFIG
    assert world.changes == []


def test_del_takes_down_what_it_made_and_gives_no_address_back() -> None:
    world = World()
    call(world)
    call(world, "DEL")
    assert world.changes == ["attach", "detach"]


def test_del_works_without_a_result_before() -> None:
    world = World()
    call(world)
    call(world, "DEL", prevResult=None)
    assert world.kernel.links == {}


def test_check_compares_with_the_result_before() -> None:
    world = World()
    call(world)
    assert call(world, "CHECK") is None
    world.kernel.broken = ["pod: the link veth0 is down"]
    with pytest.raises(CniError, match="veth0 is down"):
        call(world, "CHECK")


def test_status_and_gc_ask_no_ipam() -> None:
    world = World()
    call(world)
    world.ipam.fail = {"status": AssertionError(), "collect": AssertionError()}
    assert call(world, "STATUS") is None
    assert call(world, "GC") is None
    assert world.kernel.links == {}

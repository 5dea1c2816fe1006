"""Kernel tests need root and network namespaces, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from neutron_cni.netlink import filters, nic_records
from tests.kernel import by_hand
from tests.kernel.bypassed import Site
from tests.kernel.two_links import build_fabric
from tests.kernel.world import World, remove_leftovers
from tests.unavailable import needs

_numbers = count()


@pytest.fixture(scope="session", autouse=True)
def _clean_machine() -> None:
    remove_leftovers()


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the node remembers NICs that are in pods: no test has the machine's own folder."""
    folder = tmp_path / "nics"
    monkeypatch.setattr(nic_records, "FOLDER", folder)
    return folder


@pytest.fixture
def world() -> Iterator[World]:
    """A node with an uplink to a router."""
    world = World(next(_numbers))
    try:
        world.build()
        yield world
    finally:
        world.destroy()


@pytest.fixture(
    params=[
        pytest.param("nftables", marks=needs("nftables")),
        pytest.param("legacy", marks=needs("iptables-legacy")),
    ]
)
def back_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which packet filter this process, and those forked from it, take the kernel to have."""
    without = {4, 6} if request.param == "legacy" else set()
    monkeypatch.setattr(filters, "_without_nftables", without)
    return str(request.param)


@pytest.fixture
def two(world: World) -> World:
    """A world with a network of the pods' own, beside the node; see `two_links`."""
    build_fabric(world)
    return world


@pytest.fixture
def one_kind(world: World) -> Site:
    """A node whose pods' main interfaces bypass it, where it does not matter how."""
    return Site(world, "macvlan")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[by_hand.Site]:
    """A node where an operator attaches by hand."""
    world = World(next(_numbers))
    try:
        world.add("node")
        yield by_hand.Site(world, tmp_path)
    finally:
        world.destroy()


@pytest.fixture
def container() -> Iterator[by_hand.Container]:
    """A process in a network namespace of its own."""
    with by_hand.process() as child:
        yield child

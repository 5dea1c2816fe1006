"""Kernel tests need root and network namespaces, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.kernel.world import World, remove_leftovers

_numbers = count()


@pytest.fixture(scope="session", autouse=True)
def _clean_machine() -> None:
    remove_leftovers()


@pytest.fixture
def world() -> Iterator[World]:
    """A node with an uplink to a router."""
    world = World(next(_numbers))
    try:
        world.build()
        yield world
    finally:
        world.destroy()

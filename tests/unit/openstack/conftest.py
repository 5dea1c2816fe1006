"""The fake cloud of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import FakeKeystone, FakeNeutron


@pytest.fixture
def neutron() -> Iterator[FakeNeutron]:
    """A Neutron that asks nobody who he is, unless there is a `keystone` too."""
    with FakeNeutron() as fake:
        yield fake


@pytest.fixture
def keystone(neutron: FakeNeutron) -> Iterator[FakeKeystone]:
    """The Keystone of `neutron`, which wants its tokens."""
    with FakeKeystone(neutron.url) as fake:
        neutron.token = fake.token
        yield fake

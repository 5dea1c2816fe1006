"""The fake cloud of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from neutron_cni.openstack import cloud, credentials
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


@pytest.fixture(autouse=True)
def clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that a test makes live as long as the test."""
    session_for = credentials.session_for
    with ExitStack() as stack:

        def noted(*words: Any) -> Any:
            entry = session_for(*words)
            stack.callback(entry.session.session.close)
            return entry

        monkeypatch.setattr(cloud, "session_for", noted)
        yield

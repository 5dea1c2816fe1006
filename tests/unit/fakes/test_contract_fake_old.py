"""The fake in the manner of an old Neutron differs in just what the old Neutron does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import differences, suite
from tests.contract.backend import Backend
from tests.contract.suite import *  # noqa: F403
from tests.fakes.cloud import DEFAULT_PROJECT
from tests.fakes.neutron import FakeNeutron


@pytest.fixture
def backend(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Backend]:
    differences.expect(request.node, differences.NEUTRON_21)
    with FakeNeutron() as fake:
        fake.cloud.be_neutron_21()
        backend = Backend(fake.url, DEFAULT_PROJECT, tmp_path, fake.cloud.overlap.expect)
        yield backend
        backend.clean_up()
        backend.close()


@pytest.mark.parametrize(
    "behaviour", [name for one in differences.NEUTRON_21 for name in one.behaviours]
)
def test_what_is_listed_is_in_the_suite(behaviour: str) -> None:
    area, _, test = behaviour.partition("::")
    assert callable(getattr(getattr(suite, area), test))

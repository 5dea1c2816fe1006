"""The contract, kept by the fake Neutron."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.backend import Backend
from tests.contract.suite import *  # noqa: F403
from tests.fakes.cloud import DEFAULT_PROJECT
from tests.fakes.neutron import FakeNeutron


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    with FakeNeutron() as fake:
        backend = Backend(fake.url, DEFAULT_PROJECT, tmp_path, fake.cloud.overlap.expect)
        yield backend
        backend.clean_up()
        backend.close()

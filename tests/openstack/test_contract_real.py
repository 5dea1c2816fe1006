"""The contract, kept by the real Neutron: what the fake was made after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab
from tests.contract.backend import Backend
from tests.contract.suite import *  # noqa: F403

PROJECT = "c0" * 16
"""Nobody else's, so that its quota can be set."""


@pytest.fixture(scope="session")
def lasting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("contract")
    # That requests overlap can't be arranged here: they are sent until they have.
    backend = Backend(lab.facts["api_url"], PROJECT, folder, lambda number: None)
    yield backend
    backend.close()


@pytest.fixture
def backend(lasting: Backend) -> Iterator[Backend]:
    yield lasting
    lasting.clean_up()

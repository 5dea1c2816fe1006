"""The contract, kept by the real Neutron: what the fake was made after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab
from tests.contract.backend import Backend, real_backend
from tests.contract.suite import *  # noqa: F403


@pytest.fixture(scope="session")
def lasting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with real_backend(lab.facts["api_url"], tmp_path_factory.mktemp("contract")) as backend:
        yield backend


@pytest.fixture
def backend(lasting: Backend) -> Iterator[Backend]:
    yield lasting
    lasting.clean_up()

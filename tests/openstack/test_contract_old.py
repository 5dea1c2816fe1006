"""The contract on an old Neutron: all of it holds, but for the differences that are listed.

In a lab of its own, as the others' have the newest; nodes are not needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab
from tests.clouds import OLD
from tests.contract import differences
from tests.contract.backend import Backend, real_backend
from tests.contract.suite import *  # noqa: F403
from tests.support.labs import old_lab

pytestmark = [pytest.mark.driver("ovn"), pytest.mark.only_full, pytest.mark.cloud(OLD)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with old_lab("oldcontract") as lab:
        yield lab


@pytest.fixture(scope="module")
def lasting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with real_backend(lab.facts["api_url"], tmp_path_factory.mktemp("contract")) as backend:
        yield backend


@pytest.fixture
def backend(lasting: Backend, request: pytest.FixtureRequest) -> Iterator[Backend]:
    differences.expect(request.node, differences.NEUTRON_21)
    yield lasting
    lasting.clean_up()

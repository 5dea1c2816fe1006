"""What all tests have in common: what can't be tested here, the order of work, and the lab."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from tests import clouds, unavailable
from tests.schedule import BusyCores, Stopwatch

if TYPE_CHECKING:
    from neutron_cni_lab import Lab


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab of all parts of the tests that need one, see `lab_of`."""
    from tests.support.labs import lab_of  # what it imports is not installed for every part

    return lab_of(request)


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the durations that order the next run's work."""
    config.addinivalue_line("markers", "needs(thing): see tests/unavailable.py")
    config.addinivalue_line("markers", "driver(name): of labs with that mechanism driver only")
    config.addinivalue_line("markers", "only_full: of `./test full` only, as it takes minutes")
    config.addinivalue_line(
        "markers", "cloud(name): which one, where a module has a lab of its own"
    )
    config.addinivalue_line("markers", "both_drivers: in every run, see tests/runner/passes.py")
    if not hasattr(config, "workerinput"):  # which pytest-xdist gives to its workers
        config.pluginmanager.register(Stopwatch(config))
        config.pluginmanager.register(clouds.Witness(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `tests/vm` what it runs on a kernel that can, and to labs with another driver what
    is of theirs."""
    left = [item for item in items if unavailable.left_to_vm(item) or _of_another_driver(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    for item in items:
        cloud = clouds.cloud_of(item)
        if cloud is not None:
            item.user_properties.append((clouds.PROPERTY, cloud))


def _of_another_driver(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("driver")
    if marker is None:
        return False
    from tests.support.labs import driver

    return bool(marker.args[0] != driver())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ahead of fixtures, which may need the missing thing too."""
    unavailable.before(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test is skipped silently."""
    report = yield
    unavailable.judge(report)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what could not be tested."""
    for line in unavailable.summary(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BusyCores:
    """See `BusyCores`."""
    return BusyCores(config, log)

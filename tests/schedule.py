"""Which worker gets which tests when `./test` runs several at once (pytest-xdist).

The unit of work is a file, so that what its fixtures made serves all of its tests. The first
workers have a lab each and take what needs one; the others take the rest, which is mostly
computing, and fills the time that a lab's tests wait. Long ones go first, or the run would end with
one worker busy and the others idle: how long each test took the last time is in pytest's cache.
Where it is not, as in a fresh clone, `tests/durations.json` says it for whole units. Nobody keeps
that file by hand: `.venv/bin/python -m tests.schedule` writes it from the cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import environ
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]
USUAL = ROOT / "tests" / "durations.json"
KEY = "neutron-cni/durations"
"""Where pytest's cache has the seconds of each test."""

LABS = int(environ.get("NEUTRON_CNI_TEST_LABS", "0"))
"""How many workers have a lab."""

NEEDS_LAB = ("tests/openstack/", "tests/vm/", "tests/nova/")
OWN_LAB = "tests/openstack/test_lab.py"
"""It brings up labs by itself, and takes them down: any worker can do that."""

LATE = (
    "tests/nova/test_multus_with_nova.py",
    "tests/openstack/test_multus.py",
    "tests/vm/test_kube_proxy.py",
    "tests/vm/test_multus_in_a_cluster.py",
)
"""Files that wait for what is being built meanwhile, in the first run on a machine."""

ALONE = (
    "tests/unit/cni/test_mutations.py",
    "tests/unit/ipam/test_kills.py",
    "tests/unit/ipam/test_stateful.py",
)
"""Files whose tests take long and share nothing: each test is a unit."""


class BusyCores(LoadFileScheduling):  # type: ignore[misc]
    """Work for two kinds of workers, the longest first."""

    collection: list[str] | None

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        cache = cache_of(config)
        self.durations = Durations(cache.get(KEY, {}) if cache else {})

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _reschedule(self, node: Any) -> None:
        """More work for a worker that has only one test left: it starts none but the last but one
        until it hears that there are no more."""
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 1:
            scope = self._next_for(has_lab(node.gateway.id))
            if scope is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(scope, last=False)
            self._assign_work_unit(node)

    def schedule(self) -> None:
        """As the base class does it, but for the choice of the first units."""
        if self.collection is None and self._check_nodes_have_same_collection():
            self.collection = list(next(iter(self.registered_collections.values())))
            for nodeid in self.collection:
                self.workqueue.setdefault(self._split_scope(nodeid), {})[nodeid] = False
        for node in self.nodes:
            self._reschedule(node)

    def _next_for(self, lab: bool) -> str | None:
        """The longest unit for a worker; those that need a lab come first where there is one."""
        fitting = [scope for scope in self.workqueue if lab or not needs_lab(scope)]
        return max(fitting, key=self._order, default=None)

    def _order(self, scope: str) -> tuple[bool, bool, float]:
        return needs_lab(scope), scope not in LATE, self._seconds(scope)

    def _seconds(self, scope: str) -> float:
        return self.durations.of(scope, self.workqueue[scope])


class Durations:
    """How many seconds things take: `known` by test, `usual` by unit."""

    def __init__(
        self, known: Mapping[str, float], usual: Mapping[str, float] | None = None
    ) -> None:
        self.known = known
        self.usual = json.loads(USUAL.read_text()) if usual is None else usual

    def of(self, scope: str, tests: Iterable[str]) -> float:
        """The sum of its tests, of which one that nobody knows takes its share of what is usual."""
        nodeids = list(tests)
        share = self.usual.get(scope, len(nodeids)) / max(1, len(nodeids))
        return sum(self.known.get(nodeid, share) for nodeid in nodeids)


class Stopwatch:
    """A pytest plugin that keeps how long each test took, for the next run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of each phase of a test: setup, call and teardown."""
        before = self.seconds.get(report.nodeid, 0)
        self.seconds[report.nodeid] = before + report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """What was not run to its end this time stays as it was."""
        cache = cache_of(self.config)
        passed = self.seconds.keys() - self.failed
        if cache and passed:
            rounded = {nodeid: round(self.seconds[nodeid], 2) for nodeid in sorted(passed)}
            cache.set(KEY, {**cache.get(KEY, {}), **rounded})


def cache_of(config: pytest.Config) -> pytest.Cache | None:
    """pytest's cache; None where it is switched off (`-p no:cacheprovider`)."""
    return getattr(config, "cache", None)


def unit(nodeid: str) -> str:
    """The unit of work that a test belongs to: its file, or itself."""
    file = nodeid.partition("::")[0]
    return nodeid if file in ALONE else file


def has_lab(worker: str) -> bool:
    """Whether the worker (`gw0`) is one of those with a lab."""
    return int(worker.removeprefix("gw")) < LABS


def needs_lab(scope: str) -> bool:
    """Whether the unit needs its worker's lab."""
    return scope.startswith(NEEDS_LAB) and scope != OWN_LAB


def usual(known: Mapping[str, float], root: Path) -> dict[str, int]:
    """Seconds of each unit that takes five or more, of the files that are there."""
    seconds: dict[str, float] = {}
    for nodeid, value in sorted(known.items()):
        if (root / nodeid.partition("::")[0]).exists():
            seconds[unit(nodeid)] = seconds.get(unit(nodeid), 0) + value
    return {scope: round(value) for scope, value in seconds.items() if value >= 5}


if __name__ == "__main__":
    last = json.loads((ROOT / ".pytest_cache" / "v" / KEY).read_text())
    USUAL.write_text(json.dumps(usual(last, ROOT), indent=2) + "\n")

"""Which worker gets which tests when `./test` runs several at once (pytest-xdist).

The unit of work is a file, so that what its fixtures made serves all of its tests. The first
workers have a lab each and take what needs one; the others take the rest, which is mostly
computing, and fills the time that a lab's tests wait. Long ones go first, or the run would end with
one worker busy and the others idle.
"""

from __future__ import annotations

import os
from typing import Any

from xdist.scheduler import LoadFileScheduling

LABS = int(os.environ.get("NEUTRON_CNI_TEST_LABS", "0"))
"""How many workers have a lab."""

NEEDS_LAB = "tests/openstack/"
OWN_LAB = "tests/openstack/test_lab.py"
"""It brings up labs by itself, and takes them down: any worker can do that."""

ALONE = (
    "tests/unit/test_cni_mutations.py",
    "tests/unit/test_ipam_kills.py",
    "tests/unit/test_ipam_stateful.py",
)
"""Files whose tests take long and share nothing: each test is a unit."""

LONG = {
    OWN_LAB: 150,
    "tests/openstack/test_contract_real.py": 75,
    "tests/openstack/test_modes_options.py": 70,
    "tests/openstack/test_modes_leases_and_gc.py": 65,
    "tests/openstack/test_reliability_kills.py": 60,
    "tests/openstack/test_reliability_faults.py": 50,
    "tests/openstack/test_modes_main_plugins.py": 45,
    "tests/openstack/test_status_check_gc.py": 40,
    "tests/openstack/test_parallel.py": 30,
    "tests/openstack/test_modes_address_pairs.py": 30,
    "tests/openstack/test_bad_input.py": 10,
    "tests/unit/test_ipam_faults.py": 50,
    "tests/unit/test_ipam_quarantine.py": 20,
}
"""About how many seconds some units take; of others, each test counts as one second."""


class BusyCores(LoadFileScheduling):  # type: ignore[misc]
    """Work for two kinds of workers, the longest first."""

    collection: list[str] | None

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return nodeid if file in ALONE else file

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
        return max(
            fitting, key=lambda scope: (needs_lab(scope), self._seconds(scope)), default=None
        )

    def _seconds(self, scope: str) -> float:
        return LONG.get(scope, len(self.workqueue[scope]))


def has_lab(worker: str) -> bool:
    """Whether the worker (`gw0`) is one of those with a lab."""
    return int(worker.removeprefix("gw")) < LABS


def needs_lab(scope: str) -> bool:
    """Whether the unit needs its worker's lab."""
    return scope.startswith(NEEDS_LAB) and scope != OWN_LAB

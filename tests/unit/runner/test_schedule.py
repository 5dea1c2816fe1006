"""The order of the tests' work follows what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import schedule
from tests.schedule import ALONE, KEY, ROOT, USUAL, Durations, Stopwatch, needs_lab, unit, usual


def test_a_unit_takes_as_long_as_its_tests_took() -> None:
    durations = Durations({"a.py::one": 3.0, "a.py::two": 0.5}, {"a.py": 99})
    assert durations.of("a.py", ["a.py::one", "a.py::two"]) == 3.5


def test_what_was_never_run_takes_what_is_usual() -> None:
    durations = Durations({}, {"a.py": 30})
    assert durations.of("a.py", ["a.py::one", "a.py::two", "a.py::three"]) == 30
    assert durations.of("b.py", ["b.py::one", "b.py::two"]) == 2


def test_a_new_test_adds_its_share_to_what_was_measured() -> None:
    durations = Durations({"a.py::one": 3.0}, {"a.py": 30})
    assert durations.of("a.py", ["a.py::one", "a.py::new"]) == 18


def test_files_whose_tests_are_units_of_their_own_exist() -> None:
    assert [file for file in ALONE if not (ROOT / file).exists()] == []
    assert unit(f"{ALONE[0]}::test") == f"{ALONE[0]}::test"
    one = "tests/unit/engine/test_engine.py"
    assert unit(f"{one}::test[a::b]") == one


def test_the_tests_of_the_lab_itself_need_no_worker_with_a_lab() -> None:
    assert (ROOT / schedule.OWN_LAB).exists()
    assert not needs_lab(schedule.OWN_LAB)
    assert needs_lab("tests/openstack/test_lookup.py")
    assert needs_lab("tests/vm/test_uml_nodes.py")


def test_what_waits_for_a_build_comes_last_of_what_needs_a_lab() -> None:
    late, other, without = schedule.LATE[0], "tests/vm/test_uml_nodes.py", "tests/unit/test_a.py"
    assert (ROOT / late).exists()
    order = object.__new__(schedule.BusyCores)
    order.durations = Durations({}, {late: 90, other: 10, without: 200})
    order.workqueue = {scope: {f"{scope}::test": False} for scope in (late, other, without)}
    taken = [order._next_for(lab=True)]
    while order.workqueue.pop(taken[-1]) and order.workqueue:
        taken.append(order._next_for(lab=True))
    assert taken == [other, late, without]


def test_usual_durations_are_those_of_the_last_run(tmp_path: Path) -> None:
    """Files that are gone, and units that are quick, are left out."""
    (tmp_path / "a.py").touch()
    (tmp_path / "quick.py").touch()
    known = {"a.py::one": 3.5, "a.py::two": 3.0, "quick.py::one": 1.0, "gone.py::one": 60.0}
    assert usual(known, tmp_path) == {"a.py": 6}


def test_durations_of_tests_that_failed_or_were_left_out_stay_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_one(): pass\ndef test_two(): pass\ndef test_broken(): assert False\n"
    )
    for chosen in ("test_it.py", "test_it.py::test_two"):
        command = ["-q", "-p", "tests.unit.runner.test_schedule", f"--rootdir={tmp_path}", chosen]
        subprocess.run(
            [sys.executable, "-m", "pytest", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            stdout=subprocess.DEVNULL,
        )
    kept = json.loads((tmp_path / ".pytest_cache" / "v" / KEY).read_text())
    assert set(kept) == {"test_it.py::test_one", "test_it.py::test_two"}


def pytest_configure(config: pytest.Config) -> None:
    """This file is the plugin of the run above."""
    config.pluginmanager.register(Stopwatch(config))


def test_usual_durations_are_numbers() -> None:
    assert all(seconds >= 5 for seconds in json.loads(USUAL.read_text()).values())

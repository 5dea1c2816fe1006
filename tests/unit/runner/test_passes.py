"""How often `./test` calls pytest, and with what."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.runner.parts import Choice
from tests.runner.passes import DRIVER_ITSELF, passes

ROOT = Path(__file__).parents[3]


def test_parts_without_the_driver_are_run_once() -> None:
    (only,) = passes(Choice(False, ("unit", "kernel", "vm"), ()), 2, 3)
    assert only.words == ("tests/unit", "tests/kernel", "tests/vm", "-m", "not only_full")
    assert (only.title, only.driver, only.workers) == ("", "ovn", 5)


def test_what_holds_with_both_drivers_is_run_on_ovs_by_the_workers_with_labs() -> None:
    first, again = passes(Choice(False, ("unit", "openstack"), ()), 2, 3)
    assert (first.driver, first.workers) == ("ovn", 5)
    assert (again.driver, again.workers) == ("ovs", 2)
    assert again.words == ("tests/openstack", "-m", "both_drivers")
    assert "ML2/OVS" in again.title


def test_a_full_run_repeats_all_but_what_has_a_driver_of_its_own() -> None:
    first, again = passes(Choice(True, ("openstack",), ()), 2, 2)
    assert first.words == ("tests/openstack",)
    assert again.words == ("tests/openstack", *(f"--ignore={file}" for file in DRIVER_ITSELF))
    assert all((ROOT / file).exists() for file in DRIVER_ITSELF)


def test_coverage_is_measured_once_in_a_run_of_everything() -> None:
    every = ("unit", "kernel", "openstack", "vm", "nova")
    first, again = passes(Choice(False, every, ("kubernetes", "cluster")), 2, 2)
    assert any(word.startswith("--cov") for word in first.words)
    assert not any(word.startswith("--cov") for word in again.words)


@pytest.mark.parametrize(
    ("printed", "count"),
    [
        ("collected\n==== 12 passed in 4.25s ====\n", "12 passed in 4.25s"),
        (
            "=== 1 failed, 12 passed, 2 warnings in 70.50s (0:01:10) ===\nthe same on ML2/OVS:\n"
            "== 1 error, 3 passed in 1.50s ==\n",
            "1 failed, 1 error, 15 passed, 2 warnings in 72.00s",
        ),
        ("Traceback\n", "0 passed, 0 failed: stopped before the tests"),
    ],
)
def test_continuous_integration_is_told_the_sum_of_all_counts(
    tmp_path: Path, printed: str, count: str
) -> None:
    (tmp_path / ".ci").mkdir()
    for name, text in ((".ci/run", (ROOT / ".ci/run").read_text()), ("test", "#!/bin/sh\ncat out")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "out").write_text(printed)
    done = subprocess.run(
        [tmp_path / ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == count
    assert re.search(r"\d+ passed", done.stdout)

"""The table of what was tried on which cloud is what the tests saw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests import clouds
from tests.clouds import BEGIN, END, OF_THE_LAB, PAGE, PROPERTY, ROOT, Witness, differences, table

ROW = re.compile(r"^\| \[.*\]\(\.\./\.\./(tests/[\w/]+\.py)\) \|", re.MULTILINE)
OVN, OVS = "Neutron 29.0.0, ML2/OVN", "Neutron 29.0.0, ML2/OVS"


class Config:
    """pytest's, as far as it has a cache."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.cache = self

    def get(self, key: str, default: Any) -> Any:
        return self.kept.get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = value


def report(nodeid: str, outcome: Any, cloud: str | None, when: Any = "call") -> pytest.TestReport:
    properties: list[tuple[str, object]] = [] if cloud is None else [(PROPERTY, cloud)]
    return pytest.TestReport(
        nodeid, ("f", 1, "t"), {}, outcome, None, when, [], 0, 0, 0, properties
    )


def run(config: Any, *reports: pytest.TestReport) -> dict[str, list[str]]:
    witness = Witness(config)
    for one in reports:
        witness.pytest_runtest_logreport(one)
    witness.pytest_sessionfinish()
    found: dict[str, list[str]] = config.get(clouds.KEY, {})
    return found


def test_who_passed_on_a_cloud_is_kept_until_they_fail_there() -> None:
    config = Config()
    run(config, report("t.py::a", "passed", OVN), report("t.py::b", "passed", OVN))
    run(config, report("t.py::a", "passed", OVS), report("t.py::c", "passed", None))
    assert run(config, report("t.py::b", "failed", OVN)) == {OVN: ["t.py::a"], OVS: ["t.py::a"]}


def test_whose_end_fails_has_not_passed() -> None:
    ended = report("t.py::a", "failed", OVN, "teardown")
    assert run(Config(), report("t.py::a", "passed", OVN), ended) == {OVN: []}


def test_a_row_has_the_words_of_its_file_and_a_count_for_each_cloud(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text('"""What pods | nodes\nreach.\n\nMore."""\n')
    (tmp_path / "u.py").write_text('"""Others."""\n')
    shown = table(
        {OVS: ["t.py::a"], OVN: ["t.py::a", "t.py::b", "u.py::c", "gone.py::d"]}, tmp_path
    )
    assert shown.splitlines() == [
        f"| what | {OVN} | {OVS} |",
        "|---|---:|---:|",
        "| [What pods \\| nodes reach](../../t.py) | 2 | 1 |",
        "| [Others](../../u.py) | 1 |  |",
        "| **tests in all** | 3 | 1 |",
    ]


def test_the_page_has_each_file_whose_tests_ask_for_a_lab() -> None:
    """If not: `.venv/bin/python -m tests.clouds` after a whole `./test`."""
    text = PAGE.read_text()
    rows = set(ROW.findall(text[text.index(BEGIN) : text.index(END)]))
    folders = ("openstack", "nova", "vm")
    files = {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in (ROOT / "tests" / folder).rglob("test_*.py")
    }
    assert rows == files - set(OF_THE_LAB)


def test_the_page_has_what_an_old_neutron_does_otherwise() -> None:
    assert differences() in PAGE.read_text()

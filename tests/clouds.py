"""What was tried on which cloud: the table of docs/reference/clouds.md, made by the tests.

A test that needs a lab tells which cloud that is; who passed is in pytest's cache. From there
`.venv/bin/python -m tests.clouds` writes the table: a row for each file of tests, in the words it
begins with, and how many of its tests passed the last time that they ran on each cloud.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.contract.differences import NEUTRON_21

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "clouds.md"
BEGIN, END = "<!-- table: made by tests/clouds.py -->\n", "<!-- table: end -->\n"
OLD_BEGIN = "<!-- differences: made by tests/clouds.py -->\n"
KEY = "neutron-cni/clouds"
"""Where pytest's cache has, by cloud, the tests that passed."""

PROPERTY = "cloud"
DRIVERS = {"ovn": "ML2/OVN", "ovs": "ML2/OVS"}
LABS = ("lab", "nova_lab")
"""Fixtures of tests that run in a lab of whichever driver there is."""

OF_THE_LAB = (
    "tests/openstack/test_demo.py",
    "tests/openstack/test_lab.py",
    "tests/openstack/test_lab_commands.py",
    "tests/openstack/test_lab_ovs.py",
    "tests/nova/test_nova_lab.py",
    "tests/vm/test_uml_lab.py",
    "tests/vm/test_uml_nodes.py",
)
"""Files about the lab: they tell nothing of clouds."""


def neutron_release(requirements: str = "neutron") -> str:
    """The release of a lab's Neutron, as its requirements name it."""
    lines = (ROOT / "lab" / "requirements" / f"{requirements}.in").read_text().splitlines()
    return next(line.removeprefix("neutron==") for line in lines if line.startswith("neutron=="))


OLD = f"Neutron {neutron_release('neutron21')}, ML2/OVN"
"""The oldest that we try."""


def cloud_of(item: pytest.Item) -> str | None:
    """The cloud that the test will run on; None if that is none, or if it is about the lab."""
    fixtures = getattr(item, "fixturenames", ())
    if file_of(item.nodeid) in OF_THE_LAB or not any(name in fixtures for name in LABS):
        return None
    named = item.get_closest_marker("cloud")
    if named is not None:
        return str(named.args[0])
    from tests.support.labs import driver

    return f"Neutron {neutron_release()}, {DRIVERS[driver()]}"


def file_of(nodeid: str) -> str:
    """The path of a test's file."""
    return nodeid.partition("::")[0]


class Witness:
    """A pytest plugin that keeps which tests passed on which cloud."""

    def __init__(self, config: pytest.Config) -> None:
        self.cache = getattr(config, "cache", None)
        self.passed: dict[str, set[str]] = {}
        self.failed: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of each phase of a test."""
        cloud = dict(report.user_properties).get(PROPERTY)
        if cloud is None:
            return
        kept = self.passed if report.passed else self.failed
        kept.setdefault(str(cloud), set()).add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """What was not run stays as it was."""
        if self.cache is None:
            return
        known = {cloud: set(found) for cloud, found in self.cache.get(KEY, {}).items()}
        for cloud in self.passed.keys() | self.failed.keys():
            now = known.get(cloud, set()) | self.passed.get(cloud, set())
            known[cloud] = now - self.failed.get(cloud, set())
        self.cache.set(KEY, {cloud: sorted(found) for cloud, found in sorted(known.items())})


def table(passed: Mapping[str, Iterable[str]], root: Path = ROOT) -> str:
    """The lines between BEGIN and END."""
    counts = {cloud: _by_file(nodeids, root) for cloud, nodeids in passed.items()}
    clouds = sorted(counts, key=lambda cloud: (-len(counts[cloud]), cloud))
    files = sorted(set().union(*counts.values()))
    lines = [f"| what | {' | '.join(clouds)} |", "|---|" + "---:|" * len(clouds)]
    for file in files:
        cells = [str(counts[cloud].get(file, "")) for cloud in clouds]
        lines.append(f"| [{_words(root / file)}](../../{file}) | {' | '.join(cells)} |")
    totals = [str(sum(counts[cloud].values())) for cloud in clouds]
    lines.append(f"| **tests in all** | {' | '.join(totals)} |")
    return "\n".join(lines) + "\n"


def differences() -> str:
    """What an old Neutron does otherwise, and what we do about it, as the contract's list says."""
    rows = [f"| {item.instead} | {item.handled} |" for item in NEUTRON_21]
    return "\n".join(["| what it does | what we do |", "|---|---|", *rows]) + "\n"


def _by_file(nodeids: Iterable[str], root: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for nodeid in nodeids:
        file = file_of(nodeid)
        if (root / file).exists():
            counts[file] = counts.get(file, 0) + 1
    return counts


def _words(file: Path) -> str:
    """The first paragraph of the file's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text())) or file.name
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".").replace("|", "\\|")


def main() -> None:
    """Write the table into the page, from what the cache has."""
    passed = json.loads((ROOT / ".pytest_cache" / "v" / KEY).read_text())
    page = PAGE.read_text()
    for begin, lines in ((BEGIN, table(passed)), (OLD_BEGIN, differences())):
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(END)
        page = f"{before}{begin}\n{lines}\n{END}{after}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()

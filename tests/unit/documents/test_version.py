"""There is one version, in one place: both distributions are built with it."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from neutron_cni import __version__

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("distribution", ["neutron-cni", "neutron-cni-lab"])
def test_a_distribution_has_the_version_of_the_code(distribution: str) -> None:
    assert version(distribution) == __version__


@pytest.mark.parametrize("file", ["pyproject.toml", "lab/pyproject.toml"])
def test_no_version_is_written_down_beside_it(file: str) -> None:
    project = tomllib.loads((ROOT / file).read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]

"""Every plugin type of RECIPES: its pages keep the contract, and the documents tell of it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import msgspec
import pytest

from neutron_cni.cli import node_files
from neutron_cni.plugins import RECIPES, Kind
from neutron_cni.plugins.contract import Page
from neutron_cni.values.ipam_config import Mode

ROOT = Path(__file__).parents[3]
PAGES = {page.PART: page for recipe in RECIPES.values() for page in recipe.pages()}
FUNCTIONS = ("asks", "refuse", "remarks", "shared", "answers", "plan", "leftovers", "result")


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_a_page_offers_what_the_contract_asks(page: Page) -> None:
    for name in FUNCTIONS:
        wanted = list(inspect.signature(getattr(Page, name)).parameters)[1:]
        assert list(inspect.signature(getattr(page, name)).parameters) == wanted
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", page.PART)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_every_option_of_a_page_has_a_default(page: Page) -> None:
    """DEL works with the defaults where the configuration is wrong."""
    assert isinstance(page.Config(), msgspec.Struct)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_test_of_its_plan(name: str) -> None:
    assert list((ROOT / "tests").rglob(f"test_{name.replace('-', '_')}_plan.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_type_has_a_page_in_the_documents(name: str) -> None:
    """A how-to of its own name, or (IPAM) one for each of its modes; the index leads there."""
    index = (ROOT / "docs" / "README.md").read_text()
    titles = [mode.value for mode in Mode] if RECIPES[name].kind is Kind.IPAM else [name]
    for title in titles:
        assert f"(how-to/{title}.md)" in index
        assert (ROOT / "docs" / "how-to" / f"{title}.md").exists()


def test_a_launcher_is_installed_for_every_type(tmp_path: Path) -> None:
    written = {path.name for path in node_files.install_launchers(tmp_path)}
    assert written == set(RECIPES)

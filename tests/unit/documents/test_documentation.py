"""The documentation: generated pages are fresh, links lead somewhere, examples are accepted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as shape
import pytest
import typer
import yaml

from neutron_cni.cli.app import build
from neutron_cni.cni.request import OWN_IPAM, parse
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.netlink.plan import VethPair
from neutron_cni.plugins import RECIPES, Kind, veth_host, veth_route
from neutron_cni.plugins.contract import Leftover
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.ipam_config import IpamConfig
from tests.support import documented

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CONFLIST = re.compile(r"^```json conflist\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEFINITION = re.compile(r"^```yaml network [\w-]+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "documentation",
    "CNI_NETNS": "/run/netns/documentation",
    "CNI_IFNAME": "eth0",
}
COMMON_KEYS = {"type", "ipam", "capabilities"}


@pytest.mark.parametrize("what", ["reference", "rooms"])
def test_generated_pages_say_what_the_code_says(what: str) -> None:
    script = [sys.executable, str(ROOT / "scripts" / what), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_is_stale_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "reference"
    copy.mkdir(parents=True)
    for part in (ROOT / "scripts" / "reference").glob("*.py"):
        (copy / part.name).write_text(part.read_text())
    done = subprocess.run(
        [sys.executable, str(copy), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 1
    assert "stale: docs/reference/errors.md" in done.stdout


def test_every_command_and_option_has_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["neutron-cni"])
    without = [
        f"{path} {what}"
        for path, command in _commands(typer.main.get_command(build()), "neutron-cni")
        for what, words in _helps(command)
        if not words
    ]
    assert without == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    assert [link for link in LINK.findall(text) if not _leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_networks_are_accepted(page: Path) -> None:
    for block in CONFLIST.findall(page.read_text()):
        document = json.loads(block)
        assert set(document) <= {"cniVersion", "cniVersions", "name", "plugins"}
        assert set(document.get("cniVersions", ())) <= set(SUPPORTED)
        for plugin in document["plugins"]:
            _accept(document, plugin)


def test_documented_network_attachment_definitions_are_accepted() -> None:
    definitions = DEFINITION.findall((documented.HOW_TO / "multus.md").read_text())
    assert len(definitions) >= 6
    for text in definitions:
        definition = yaml.safe_load(text)
        assert definition["kind"] == "NetworkAttachmentDefinition"
        plugin = json.loads(definition["spec"]["config"])
        document = {key: plugin.pop(key) for key in ("cniVersion", "name")}
        assert document["name"] == definition["metadata"]["name"]
        _accept(document, plugin)


def test_there_are_documented_networks() -> None:
    assert sum(len(CONFLIST.findall(page.read_text())) for page in PAGES) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_other_json_is_json(page: Path) -> None:
    for block in re.findall(r"^```json\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        json.loads(block)


def test_kube_proxy_knows_pods_by_what_their_links_are_called() -> None:
    proxy = yaml.safe_load(documented.block("kubernetes.md", "yaml kube-proxy"))
    attachment = Attachment("container", "eth0", "/run/netns/pod")
    for page in (veth_route, veth_host):
        links = page.leftovers(Leftover("neutron", attachment)).links
        (name,) = [link.host_name for link in links if isinstance(link, VethPair)]
        assert name.startswith(proxy["detectLocal"]["interfaceNamePrefix"])
    assert proxy["detectLocalMode"] == "InterfaceNamePrefix"


def _accept(document: dict[str, Any], plugin: dict[str, Any]) -> None:
    """Give one plugin's part to our parser, as a runtime would; no key may be one it ignores."""
    own = plugin["type"] in RECIPES
    if own:
        schemas = RECIPES[plugin["type"]].schemas()
        assert set(plugin) <= COMMON_KEYS.union(*map(_keys, schemas))
    section = plugin.get("ipam", {})
    if section.get("type") == OWN_IPAM:
        assert set(section) <= _keys(IpamConfig)
    elif not own:
        return
    called = plugin["type"] if own else OWN_IPAM
    part = {"cniVersion": document["cniVersion"], "name": document["name"], **plugin}
    recipe = RECIPES[called]
    with_ipam = recipe.kind is not Kind.CHAINED
    data = json.dumps(part).encode()
    request = parse(called, ADD, data, recipe.schemas(), with_ipam=with_ipam)
    assert request.network == document["name"]


def _keys(config: type[msgspec.Struct]) -> set[str]:
    info = shape.type_info(config)
    return {field.encode_name for field in getattr(info, "fields", ())}


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target.read_text())


def _anchors(text: str) -> set[str]:
    """What headings are linked by: GitHub's rules."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(kept.replace(" ", "-"))
    return found


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def _helps(command: Any) -> Iterator[tuple[str, str]]:
    """The words for a command and for each option of it that is shown."""
    yield "(the command)", command.help or ""
    for item in command.params:
        if item.param_type_name == "option" and not getattr(item, "hidden", False):
            yield item.opts[0], item.help or ""

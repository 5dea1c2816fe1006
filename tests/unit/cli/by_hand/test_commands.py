"""The command line of attach and detach: who may, what is printed, and for whom."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from neutron_cni.cli import app
from neutron_cni.cli.by_hand import attaching, work
from neutron_cni.cli.by_hand.records import begun
from neutron_cni.cli.by_hand.targets import Target
from neutron_cni.cli.by_hand.work import Done
from neutron_cni.cni.runtime import Chain, read_network
from neutron_cni.netlink.namespace import Identity
from neutron_cni.values.attachment import Attachment

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/web"}],
    "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 0}],
    "dns": {"nameservers": ["10.1.0.2"]},
}


def done(word: str, state: Path) -> Done:
    network = read_network({"cniVersion": "1.0.0", "name": "net", "type": "one"})
    target = Target("the docker container [web]", "by-hand-c1", "/run/netns/web", Identity(1, 2))
    chain = Chain(network, ("/bin",), Attachment("by-hand-c1", "eth0", target.path))
    return Done("attached", begun(word, target, chain), ["ip link add"], ("be warned",), RESULT)


def run(*words: str) -> Result:
    return CliRunner().invoke(app.build(), list(words))


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def attached(root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[work.Place]:
    places: list[work.Place] = []

    def attach(word: str, ifname: str, place: work.Place, *more: object) -> Done:
        places.append(place)
        return done(word, tmp_path)

    (tmp_path / "net.conf").write_text('{"cniVersion": "1.0.0", "name": "net", "type": "one"}')
    monkeypatch.setattr(attaching, "attach", attach)
    monkeypatch.delenv("CNI_PATH", raising=False)
    return places


@pytest.mark.parametrize("command", ["attach", "detach"])
def test_only_root_may(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    answer = run(command, "web")
    assert answer.exit_code == 1
    assert "only root can do that" in answer.stderr


def test_a_pipe_gets_lines(attached: list[work.Place], tmp_path: Path) -> None:
    answer = run("attach", "web", "--conf-dir", str(tmp_path))
    assert answer.stdout.splitlines() == [
        "attached: the docker container [web]",
        "network: net",
        "interface: eth0",
        "address: 10.1.0.5/16",
        "gateway: 10.1.0.1",
        "DNS: 10.1.0.2",
        "namespace: /run/netns/web",
        "container id: by-hand-c1",
        "  ip link add",
        "(not shown: settings of the kernel, packet rules)",
    ]
    assert "warning: be warned" in answer.stderr


def test_programs_get_json_alone(attached: list[work.Place], tmp_path: Path) -> None:
    document = json.loads(run("attach", "web", "--conf-dir", str(tmp_path), "--json").stdout)
    assert document["result"] == RESULT
    assert document["commands"] == ["ip link add"]
    assert (document["containerId"], document["ifname"]) == ("by-hand-c1", "eth0")


def test_plugins_are_where_the_runtime_has_them(
    attached: list[work.Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ["--conf-dir", str(tmp_path)]
    run("attach", "web", *folder)
    monkeypatch.setenv("CNI_PATH", "/a:/b")
    run("attach", "web", *folder)
    run("attach", "web", *folder, "--bin-dir", "/c", "--bin-dir", "/d")
    assert [place.path for place in attached] == [("/opt/cni/bin",), ("/a", "/b"), ("/c", "/d")]


def test_without_a_network_nothing_is_begun(attached: list[work.Place], tmp_path: Path) -> None:
    answer = run("attach", "web", "--conf-dir", str(tmp_path / "nowhere"))
    assert answer.exit_code == 1
    assert "has no network" in answer.stderr
    assert not attached

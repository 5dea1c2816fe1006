"""`neutron-cni install`, `uninstall` and `version`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from neutron_cni.cli import app, node_files
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.values.errors import CniError


def neutron_cni(*arguments: str) -> Result:
    return CliRunner().invoke(app.build(), list(arguments))


def test_install_writes_programs_and_touches_no_network(tmp_path: Path) -> None:
    done = neutron_cni("install", "--bin-dir", str(tmp_path / "bin"))
    assert done.exit_code == 0, done.output
    assert sorted(item.name for item in tmp_path.rglob("*")) == [
        "bin",
        "cni-ipam-neutron",
        "veth-route",
    ]
    for name in ("cni-ipam-neutron", "veth-route"):
        assert (tmp_path / "bin" / name).stat().st_mode & 0o777 == 0o755


def test_install_writes_the_network_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    replace = node_files.replace

    def remember(target: Path, text: str, mode: int) -> None:
        written.append(target.name)
        replace(target, text, mode)

    monkeypatch.setattr(node_files, "replace", remember)
    options = ["--bin-dir", str(tmp_path), "--conf-dir", str(tmp_path / "net.d")]
    more = ["--cloud", "lab", "--mode", "port", "--neutron-network", "provider"]
    more += ["--subnet", "a", "--subnet", "b", "--state-dir", str(tmp_path / "state")]
    assert neutron_cni("install", *options, *more).exit_code == 0
    assert written == ["cni-ipam-neutron", "veth-route", "10-neutron-cni.conflist"]
    document = json.loads((tmp_path / "net.d" / written[-1]).read_text())
    assert document["cniVersions"] == list(SUPPORTED)
    assert document["plugins"][0]["ipam"] == {
        "type": "cni-ipam-neutron",
        "mode": "port",
        "cloud": "lab",
        "network": "provider",
        "subnets": ["a", "b"],
        "stateDir": str(tmp_path / "state"),
    }
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_install_may_be_repeated_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    for _ in range(2):
        assert neutron_cni("install", "--bin-dir", str(tmp_path)).exit_code == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_wrong_network_name_is_a_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    done = neutron_cni(
        "install",
        "--bin-dir",
        str(tmp_path / "b"),
        "--conf-dir",
        str(tmp_path / "c"),
        "--network",
        "a/b",
    )
    assert done.exit_code == 1
    assert "'a/b' is not a network name" in done.output
    assert not (tmp_path / "c").exists()


def test_mode_port_without_a_neutron_network_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    done = neutron_cni("install", *options, "--mode", "port")
    assert done.exit_code == 1
    assert "--neutron-network" in done.output
    assert list(tmp_path.iterdir()) == []


def test_uninstall_removes_ours_and_nothing_else(tmp_path: Path) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    neutron_cni("install", *options, "--state-dir", str(tmp_path / "state"))
    (tmp_path / "bin" / "veth-route").write_bytes(b"\x7fELF of somebody else")
    (tmp_path / "bin" / "bridge").write_text("upstream's")
    assert neutron_cni("uninstall", *options).exit_code == 0
    assert sorted(item.name for item in (tmp_path / "bin").iterdir()) == ["bridge", "veth-route"]
    assert list((tmp_path / "net.d").iterdir()) == []
    assert neutron_cni("uninstall", *options).exit_code == 0


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        node_files.replace(target, "new", 0o644)
    assert [item.read_text() for item in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("path", ["/opt/my tools/bin/python", "/" + "a" * 130])
def test_an_interpreter_that_no_shebang_can_name_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", path)
    with pytest.raises(CniError, match="#! line"):
        node_files.launcher_script()


def test_version_names_the_protocol_versions() -> None:
    assert ", ".join(SUPPORTED) in neutron_cni("version").output


def test_a_broken_extension_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name = "broken"

        def load(self) -> None:
            raise ImportError("no module")

    monkeypatch.setattr(app, "entry_points", lambda group: [Broken()])
    monkeypatch.setattr(sys, "argv", ["neutron-cni"])
    done = neutron_cni("version")
    assert done.exit_code == 0

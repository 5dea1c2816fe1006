"""`neutron-cni install`, `uninstall` and `version`."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from neutron_cni.cli import app, install, node_files
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.plugins import RECIPES
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig


def neutron_cni(*arguments: str) -> Result:
    return CliRunner().invoke(app.build(), list(arguments))


def test_install_writes_programs_and_touches_no_network(tmp_path: Path) -> None:
    done = neutron_cni("install", "--bin-dir", str(tmp_path / "bin"))
    assert done.exit_code == 0, done.output
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["bin", *sorted(RECIPES)]
    for name in RECIPES:
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
    assert written == [*sorted(RECIPES), "10-neutron-cni.conflist"]
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
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(RECIPES)


def test_install_warns_of_what_the_network_may_do_to_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[IpamConfig] = []

    def foreseen(config: IpamConfig, deadline: Deadline) -> list[str]:
        asked.append(config)
        return ["DHCP may give the node a pod's address"]

    monkeypatch.setattr(install, "foreseen", foreseen)
    folders = ["--bin-dir", str(tmp_path), "--conf-dir", str(tmp_path / "net.d")]
    done = neutron_cni("install", *folders, "--state-dir", str(tmp_path / "state"), "--subnet", "a")
    assert done.exit_code == 0
    assert "warning: DHCP may give the node a pod's address" in done.stderr
    assert [config.subnets for config in asked] == [("a",)]


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


@pytest.mark.parametrize("option", ["--bin-dir", "--conf-dir", "--state-dir"])
@pytest.mark.parametrize("what", ["/proc/nope", "file", "file/below", "loop"])
def test_a_folder_that_can_not_be_is_a_sentence_and_nothing_is_written(
    tmp_path: Path, option: str, what: str
) -> None:
    """Of /proc, not even root can make folders in it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    folders = {f"--{name}-dir": str(tmp_path / name) for name in ("bin", "conf", "state")}
    folders[option] = str(tmp_path / what)
    before = sorted(tmp_path.iterdir())
    done = neutron_cni("install", *(word for item in folders.items() for word in item))
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 1
    assert "nothing can be written in" in done.output
    assert "nothing was changed" in done.output
    assert sorted(tmp_path.iterdir()) == before


def test_a_network_file_that_is_a_link_to_itself_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "loop.conf").symlink_to("loop.conf")
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path)]
    done = neutron_cni("install", *options, "--conf-name", "loop.conf")
    assert (done.exit_code, "Too many levels" in done.output) == (1, True)
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_what_the_disk_refuses_later_is_a_sentence_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    options = ["--bin-dir", str(tmp_path / "bin")]
    assert neutron_cni("install", *options).exit_code == 0

    def refused(*words: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    done = neutron_cni(command, *options)
    assert isinstance(done.exception, SystemExit)
    assert (done.exit_code, "Read-only file system" in done.output) == (1, True)
    assert str(tmp_path / "bin") in done.output


@pytest.mark.parametrize("name", ["10-neutron-cni", "a.conflist.off", "", "sub/a.conflist", ".."])
def test_a_name_that_runtimes_do_not_load_is_refused(tmp_path: Path, name: str) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    done = neutron_cni("install", *options, "--conf-name", name)
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "runtimes load no network" in done.output
    assert ".conf, .conflist, .json" in done.output


@pytest.mark.parametrize("name", ["a.conf", "a.conflist", "a.json"])
def test_a_name_that_runtimes_load_is_taken(tmp_path: Path, name: str) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    more = ["--state-dir", str(tmp_path / "state"), "--conf-name", name]
    assert neutron_cni("install", *options, *more).exit_code == 0
    assert (tmp_path / "net.d" / name).exists()


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

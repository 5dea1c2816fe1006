"""`install` tells the node's network managers of pods' NICs, where there are such."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from neutron_cni.cli import app, node_files
from neutron_cni.cli.device_rules import NETWORK, RULES, rule


def neutron_cni(*arguments: str) -> Result:
    return CliRunner().invoke(app.build(), list(arguments))


@pytest.fixture
def machine(etc: Path) -> Path:
    """The /etc of a machine that has udev and networkd."""
    (etc / "udev").mkdir()
    (etc / "systemd" / "network").mkdir(parents=True)
    return etc


def written(etc: Path) -> list[str]:
    return sorted(str(path.relative_to(etc)) for path in etc.rglob("*") if path.is_file())


def test_the_files_are_written_where_their_programs_are_and_removed_again(
    tmp_path: Path, machine: Path
) -> None:
    options = ["--bin-dir", str(tmp_path)]
    done = neutron_cni("install", *options)
    assert done.exit_code == 0, done.output
    assert written(machine) == [str(NETWORK), str(RULES)]
    for path in (NETWORK, RULES):
        assert f"wrote {machine / path}" in done.output
        assert (machine / path).stat().st_mode & 0o777 == 0o644
    assert "/var/lib/neutron-cni/unmanaged/$attr{address}" in (machine / RULES).read_text()
    assert str(machine) not in neutron_cni("install", *options).output
    assert f"removed {machine / RULES}" in neutron_cni("uninstall", *options).output
    assert written(machine) == []
    assert neutron_cni("uninstall", *options).exit_code == 0


def test_a_machine_without_them_gets_none(tmp_path: Path, etc: Path) -> None:
    assert neutron_cni("install", "--bin-dir", str(tmp_path)).exit_code == 0
    assert list(etc.iterdir()) == []


def test_the_stores_of_all_networks_are_in_the_rule(tmp_path: Path, machine: Path) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    for name in ("a", "b"):
        state = ["--state-dir", str(tmp_path / name), "--conf-name", f"{name}.conflist"]
        assert neutron_cni("install", *options, *state).exit_code == 0
    text = (machine / RULES).read_text()
    for folder in ("/var/lib/neutron-cni", str(tmp_path / "a"), str(tmp_path / "b")):
        assert text.count(f'TEST=="{folder}/unmanaged/$attr{{address}}"') == 1


def test_a_folder_that_no_rule_can_name_is_told(tmp_path: Path, machine: Path) -> None:
    options = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    done = neutron_cni("install", *options, "--state-dir", str(tmp_path / 'a"$b'))
    assert done.exit_code == 0
    assert "warning: udev can't be told the state folder" in done.output
    assert "$b" not in (machine / RULES).read_text()


def test_what_can_not_be_written_there_is_a_warning(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object, **more: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(node_files, "replace", refused)
    monkeypatch.setattr(node_files, "install_launchers", lambda bin_dir: [])
    done = neutron_cni("install", "--bin-dir", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert done.output.count("Read-only file system") == 2


def test_a_file_of_that_name_that_is_somebody_elses_stays(tmp_path: Path, machine: Path) -> None:
    (machine / NETWORK).write_text("[Match]\n")
    assert neutron_cni("uninstall", "--bin-dir", str(tmp_path)).exit_code == 0
    assert written(machine) == [str(NETWORK)]


def test_a_rule_without_the_test_of_an_address_would_take_a_nic_that_has_none() -> None:
    """The path then is the folder, which is there: tun devices have no address."""
    lines = rule(["/state"]).splitlines()
    guard = next(line for line in lines if line.startswith('ATTR{address}!="??:'))
    assert lines.index(guard) < lines.index(
        'TEST=="/state/unmanaged/$attr{address}", GOTO="neutron_cni_nic"'
    )

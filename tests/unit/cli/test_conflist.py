"""`neutron-cni install` run again: what the operator has made of the network's file stays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from neutron_cni.cli import node_files
from neutron_cni.ipam.audit.configured import SUFFIXES
from tests.unit.cli.test_install import neutron_cni

EDITED: dict[str, Any] = {
    "name": "mine",
    "cniVersion": "0.4.0",
    "disableCheck": True,
    "plugins": [
        {"type": "own-first", "x": {"ü": 30.0, "big": 2**60}},
        {
            "ipam": {
                "mode": "port",
                "network": "provider",
                "type": "cni-ipam-neutron",
                "quarantine": 300,
                "subnets": ["a"],
                "unknown": [None],
            },
            "type": "veth-route",
            "mtu": 1400,
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def install(tmp_path: Path, *options: str) -> Result:
    folders = ["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d")]
    state = [] if "--state-dir" in options else ["--state-dir", str(tmp_path / "state")]
    return neutron_cni("install", *folders, *state, *options)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The network's file as the operator has edited it."""
    path = tmp_path / "net.d" / "10-neutron-cni.conflist"
    path.parent.mkdir()
    EDITED["plugins"][1]["ipam"]["stateDir"] = str(tmp_path / "state")
    path.write_text(json.dumps(EDITED, ensure_ascii=False))
    path.chmod(0o640)
    return path


def copies(file: Path) -> list[Path]:
    return [path for path in file.parent.iterdir() if path != file]


def test_without_options_the_file_is_not_touched(tmp_path: Path, file: Path) -> None:
    before = file.read_bytes(), file.stat().st_ino
    done = install(tmp_path)
    assert (done.exit_code, (file.read_bytes(), file.stat().st_ino)) == (0, before)
    assert "kept" in done.output
    assert copies(file) == []


def test_only_what_is_asked_for_changes_and_the_former_file_is_kept(
    tmp_path: Path, file: Path
) -> None:
    former = file.read_bytes()
    done = install(tmp_path, "--cloud", "other", "--subnet", "b", "--subnet", "c")
    assert done.exit_code == 0, done.output
    expected = json.loads(json.dumps(EDITED))
    expected["plugins"][1]["ipam"].update(cloud="other", subnets=["b", "c"])
    # As text: the order is the operator's too.
    assert json.dumps(json.loads(file.read_bytes())) == json.dumps(expected)
    assert file.stat().st_mode & 0o777 == 0o640
    (copy,) = copies(file)
    assert copy.read_bytes() == former
    assert copy.suffix not in SUFFIXES
    assert str(copy) in done.output


def test_each_change_keeps_its_copy(tmp_path: Path, file: Path) -> None:
    for cloud in ("a", "b", "c"):
        assert install(tmp_path, "--cloud", cloud).exit_code == 0
    assert len(copies(file)) == 3


def test_an_empty_option_takes_the_key_out(tmp_path: Path, file: Path) -> None:
    assert install(tmp_path, "--subnet", "", "--mode", "fixed-ips").exit_code == 0
    section = json.loads(file.read_bytes())["plugins"][1]["ipam"]
    assert (section["mode"], "subnets" in section) == ("fixed-ips", False)


def test_a_network_may_get_another_name(tmp_path: Path, file: Path) -> None:
    assert install(tmp_path, "--network", "new").exit_code == 0
    assert json.loads(file.read_bytes())["name"] == "new"


def test_a_file_of_a_single_plugin_is_changed_in_its_own_shape(tmp_path: Path, file: Path) -> None:
    file.write_text(json.dumps({**EDITED["plugins"][1], "name": "n", "cniVersion": "0.3.1"}))
    assert install(tmp_path, "--cloud", "c").exit_code == 0
    document = json.loads(file.read_bytes())
    assert (document["ipam"]["cloud"], document["mtu"], "plugins" in document) == ("c", 1400, False)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path, file: Path) -> None:
    real = tmp_path / "distributed.conflist"
    file.rename(real)
    file.symlink_to(real)
    assert install(tmp_path, "--cloud", "c").exit_code == 0
    assert file.is_symlink()
    assert json.loads(real.read_bytes())["plugins"][1]["ipam"]["cloud"] == "c"


WRONG: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "comments": (lambda path: path.write_text('// mine\n{"name": "n"}'), (), "not valid JSON"),
    "a FIFO": (os.mkfifo, (), "is a FIFO"),
    "a folder": (Path.mkdir, (), "is a folder"),
    "another's": (
        lambda path: path.write_text('{"name": "n", "plugins": [{"type": "calico"}]}'),
        ("--cloud", "c"),
        "not ours to change",
    ),
    "a wrong value": (
        lambda path: path.write_text(json.dumps(EDITED).replace("300", '"long"')),
        ("--cloud", "c"),
        "ipam.quarantine",
    ),
    "no network": (
        lambda path: path.write_text(json.dumps(EDITED)),
        ("--neutron-network", ""),
        "--neutron-network",
    ),
}


@pytest.mark.parametrize(("make", "options", "said"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_changed_is_a_sentence_and_nothing_is_written(
    tmp_path: Path,
    file: Path,
    make: Callable[[Path], object],
    options: tuple[str, ...],
    said: str,
) -> None:
    file.unlink()
    make(file)
    done = install(tmp_path, *options)
    assert done.exit_code == 1
    assert said in done.output
    assert copies(file) == []
    assert not (tmp_path / "bin").exists()


def test_a_write_that_fails_leaves_the_network(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = file.read_bytes()
    install(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(node_files, "install_launchers", lambda folder: [])
    monkeypatch.setattr(os, "fsync", full)
    assert install(tmp_path, "--cloud", "c").exit_code != 0
    assert file.read_bytes() == former
    assert [path.suffix for path in file.parent.iterdir() if path.suffix in SUFFIXES] == [
        ".conflist"
    ]


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("05-other.conf", True),
        ("05-other.conflist", True),
        ("1-other.json", True),
        ("2-other.json", False),
        ("10-neutron-cni.conf", True),
        ("99-other.conflist", False),
        ("05-other.conflist.bak", False),
    ],
)
def test_a_file_that_runtimes_take_before_ours_is_named(
    tmp_path: Path, name: str, warned: bool
) -> None:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / name).write_text("{}")
    for _ in ("a new network", "one that is there"):
        done = install(tmp_path)
        assert done.exit_code == 0
        assert (f"{name} comes first" in done.output) == warned

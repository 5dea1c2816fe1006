"""The configuration folder, which we share: another plugin's broken file stops nothing of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from neutron_cni.cli import app
from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.audit import compare, mend
from neutron_cni.ipam.audit.configured import configured
from neutron_cni.store import State, Store
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene
from tests.unit.ipam.test_survey import held

OURS = b'{"name": "broken", "type": "veth-route", "ipam": {"type": "cni-ipam-neutron"'


def write(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def huge(data: bytes) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_bytes(data)
        os.truncate(path, 1 << 40)

    return make


OTHERS: dict[str, Callable[[Path], object]] = {
    "half JSON": write(b'{"name": "calico", "plugins": ['),
    "empty": write(b""),
    "binary": write(os.urandom(4) + b"\xff\x00" * 100),
    "a list": write(b"[1]"),
    "deep": write(b"[" * 100_000),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terabyte": huge(b"{"),
}
PERHAPS_OURS: dict[str, Callable[[Path], object]] = {
    "half JSON of ours": write(OURS),
    "wrong value of ours": write(OURS + b', "mode": "no such mode"}}'),
    "no object for ours": write(b'["cni-ipam-neutron"]'),
    "terabyte of ours": huge(OURS),
}
EITHER = pytest.mark.parametrize(
    "make", [*OTHERS.values(), *PERHAPS_OURS.values()], ids=[*OTHERS, *PERHAPS_OURS]
)
OTHER = pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
PERHAPS = pytest.mark.parametrize("make", PERHAPS_OURS.values(), ids=PERHAPS_OURS)


def good(folder: Path, name: str = "good") -> None:
    document = {"name": name, "type": "veth-route", "ipam": {"type": "cni-ipam-neutron"}}
    (folder / f"{name}.conf").write_text(json.dumps(document))


@EITHER
def test_a_broken_file_is_named_and_passed_over(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "10-broken.conf")
    good(tmp_path)
    found = configured(tmp_path)
    assert set(found.networks) == {"good"}
    (broken,) = found.broken
    assert broken.why.startswith(f"{tmp_path}/10-broken.conf: ")
    assert found.may_lack_ours == (make in PERHAPS_OURS.values())


def test_a_file_that_may_not_be_read_may_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk, say: root may read all that can be read."""
    good(tmp_path)

    def fail(descriptor: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    found = configured(tmp_path)
    assert found.may_lack_ours
    assert "Input/output error" in found.broken[0].why


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.conf")).write_bytes(b"{")
    (broken,) = configured(tmp_path).broken
    assert r"\udcff.conf" in broken.why.encode().decode()


@pytest.mark.parametrize("name", ["10-x.conf.bak", ".10-x", "README"])
def test_what_no_runtime_loads_is_not_looked_at(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert configured(tmp_path).broken == ()


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_folder_that_is_not_there_has_no_networks(tmp_path: Path, kind: str) -> None:
    if kind == "a file":
        (tmp_path / "net.d").touch()
    assert configured(tmp_path / "net.d").networks == {}


# What an operator sees


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A node with one lease of network "net", whose namespace is gone."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(mend, "remove_stale_entries", lambda: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr(compare, "YOUNG_SECONDS", -1.0)
    with Scene(tmp_path / "scene") as scene:
        host = Host(scene, "node")
        held(msgspec.convert(host.config(Mode.FIXED_IPS, quarantine=300), IpamConfig), "c1")
        yield host


def cli(host: Host, *words: str) -> Result:
    folders = ["--state-dir", str(host.state_dir), "--conf-dir", str(host.conf_dir)]
    return CliRunner().invoke(app.build(), [*words, *folders])


def state(host: Host) -> State:
    with Store(str(host.state_dir)) as store:
        (record,) = store.all()
    return record.state


@OTHER
def test_leases_and_gc_warn_of_anothers_broken_file_and_go_on(
    host: Host, make: Callable[[Path], object]
) -> None:
    make(host.conf_dir / "10-broken.conf")
    shown = cli(host, "leases")
    assert (shown.exit_code, "Neutron agrees" in shown.output) == (0, True)
    assert "warning: " in shown.output
    done = cli(host, "gc", "--apply")
    assert (done.exit_code, state(host)) == (0, State.COOLING)
    assert "10-broken.conf" in done.output


@PERHAPS
def test_what_may_be_of_a_network_in_a_broken_file_is_kept(
    host: Host, make: Callable[[Path], object]
) -> None:
    make(host.conf_dir / "10-broken.conf")
    assert cli(host, "leases").exit_code == 1
    done = cli(host, "gc", "--apply")
    assert (done.exit_code, state(host)) == (1, State.HELD)
    assert "it may have a network of ours" in done.output
    assert "keep " in done.output

    good(host.conf_dir, "net")
    assert cli(host, "gc", "--apply").exit_code == 1
    assert state(host) == State.COOLING


def test_what_the_store_does_not_know_is_kept_too(host: Host) -> None:
    good(host.conf_dir, "net")
    for path in host.state_dir.glob("store.db*"):
        path.unlink()
    document = {
        "name": "net",
        "type": "veth-route",
        "ipam": host.config(Mode.FIXED_IPS, quarantine=300),
    }
    (host.conf_dir / "net.conf").write_text(json.dumps(document))
    (host.conf_dir / "10-broken.conf").write_bytes(OURS)
    done = cli(host, "gc", "--apply", "--view-is-whole")
    assert done.exit_code == 1
    assert "keep " in done.output
    with Store(str(host.state_dir)) as store:
        assert store.all() == []
    (host.conf_dir / "10-broken.conf").unlink()
    assert cli(host, "gc", "--apply", "--view-is-whole").exit_code == 0
    assert state(host) == State.COOLING

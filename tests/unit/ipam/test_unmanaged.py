"""The file that keeps a node's network managers from a pod's NIC is there as long as the NIC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neutron_cni.ipam.modes import unmanaged
from neutron_cni.openstack.nova import Nova
from tests.fakes import Fault
from tests.unit.ipam.test_nova_interface import ATTACH, HYPERVISOR, Site, site

__all__ = ["site"]

MAC = "fa:16:3e:00:00:01"


def marks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / unmanaged.FOLDER).glob("*"))


def test_a_mac_is_a_file_that_only_root_may_see_until_it_is_withdrawn(tmp_path: Path) -> None:
    for _ in range(2):
        unmanaged.announce(str(tmp_path), MAC.upper())
        assert marks(tmp_path) == [MAC]
    assert (tmp_path / unmanaged.FOLDER).stat().st_mode & 0o777 == 0o700
    for _ in range(2):
        unmanaged.withdraw(str(tmp_path), MAC)
        assert marks(tmp_path) == []


@pytest.mark.parametrize("mac", ["", "..", "../store.db", "fa:16:3e:00:00:01/x", "fa:16:3e"])
def test_what_is_no_mac_is_no_file(tmp_path: Path, mac: str) -> None:
    (tmp_path / "store.db").touch()
    unmanaged.announce(str(tmp_path), mac)
    unmanaged.withdraw(str(tmp_path), mac)
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]


def _others_write(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def _link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o777)
    (folder.parent / "elsewhere").chmod(0o777)
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [_others_write, _link, Path.touch])
def test_nothing_is_written_where_others_may(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    prepare(tmp_path / unmanaged.FOLDER)
    unmanaged.announce(str(tmp_path), MAC)
    assert list(tmp_path.rglob(f"*{MAC}")) == []


def test_the_file_is_there_before_nova_is_asked_and_until_the_nic_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before = site.host.state_dir, []
    attach = Nova.attach

    def look(nova: Nova, server: str, port: str) -> None:
        before.extend(marks(folder))
        attach(nova, server, port)

    monkeypatch.setattr(Nova, "attach", look)
    mac = site.add("c1").nic_mac
    assert before == marks(folder) == [mac]
    site.delete("c1")
    assert marks(folder) == [mac]
    site.sweep()
    assert (site.nics(), marks(folder)) == (0, [])


def test_a_refusal_leaves_no_file(site: Site) -> None:
    site.scene.neutron.faults.add(Fault(*ATTACH, status=500, body=HYPERVISOR))
    site.refusal("c1")
    assert marks(site.host.state_dir) == []


def test_an_attach_whose_answer_was_lost_keeps_it(site: Site) -> None:
    site.scene.neutron.faults.add(Fault(*ATTACH, drop="after"))  # type: ignore[arg-type]
    mac = site.add("c1").nic_mac
    assert marks(site.host.state_dir) == [mac]


def test_a_port_that_somebody_deleted_leaves_none(site: Site) -> None:
    lease = site.add("c1")
    site.scene.neutron.cloud.ports.pop(lease.port_id)
    site.delete("c1")
    site.sweep()
    assert marks(site.host.state_dir) == []


def test_a_store_that_was_lost_with_the_files_has_them_again(site: Site) -> None:
    mac = site.add("c1").nic_mac
    for path in site.host.state_dir.rglob("*"):
        if path.is_file():
            path.unlink()
    site.add("c2")
    assert mac in marks(site.host.state_dir)


def test_no_call_fails_for_want_of_it(site: Site) -> None:
    site.host.state_dir.mkdir(parents=True, exist_ok=True)
    (site.host.state_dir / unmanaged.FOLDER).touch()
    site.add("c1")
    site.delete("c1")
    site.sweep()
    assert site.nics() == 0

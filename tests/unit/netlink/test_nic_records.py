"""What the node remembers of NICs that are in pods."""

from __future__ import annotations

import os
from ipaddress import ip_interface
from pathlib import Path

import pytest

from neutron_cni.netlink import nic_records
from neutron_cni.netlink.nic_records import NicRecord
from neutron_cni.netlink.nics import Memory
from neutron_cni.values.errors import CniError, Code

OWNER = "neutron-cni net1 c0ffee eth0 host-device"
MEMORY = Memory(
    "ens4",
    "fa:16:3e:00:00:44",
    1450,
    up=True,
    pci="0000:00:05.0",
    addresses=(ip_interface("10.20.0.5/24"), ip_interface("fd00:20::5/64")),
)
RECORD = NicRecord(OWNER, "/run/netns/pod", MEMORY)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of the one below /run; not there yet."""
    found = tmp_path / "neutron-cni" / "nics"
    monkeypatch.setattr(nic_records, "FOLDER", found)
    return found


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    nic_records.write(RECORD)
    assert nic_records.read(OWNER) == RECORD
    assert nic_records.list_all() == [RECORD]
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_of_the_same_owner_is_replaced() -> None:
    nic_records.write(RECORD)
    other = NicRecord(OWNER, "/run/netns/other", MEMORY)
    nic_records.write(other)
    assert nic_records.list_all() == [other]


def test_what_was_never_written_is_none() -> None:
    assert nic_records.read(OWNER) is None
    assert nic_records.list_all() == []
    nic_records.forget(OWNER)


def test_what_is_forgotten_is_none() -> None:
    nic_records.write(RECORD)
    nic_records.forget(OWNER)
    assert nic_records.read(OWNER) is None


def test_a_nic_that_is_late_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    nic_records.write(RECORD)
    assert nic_records.list_late() == []
    assert nic_records.keep(OWNER)
    assert nic_records.read(OWNER) == RECORD
    assert nic_records.list_late() == nic_records.list_all() == [RECORD]
    assert nic_records.keep(OWNER)
    monkeypatch.setattr(nic_records, "LATE_SECONDS", -1.0)
    assert not nic_records.keep(OWNER)
    nic_records.forget(OWNER)
    assert nic_records.list_all() == []


def test_an_owner_with_another_nic_is_not_late() -> None:
    nic_records.write(RECORD)
    nic_records.keep(OWNER)
    nic_records.write(RECORD)
    assert nic_records.list_late() == []
    assert nic_records.list_all() == [RECORD]


def test_what_another_process_has_forgotten_is_not_remembered_again() -> None:
    nic_records.write(RECORD)
    nic_records.forget(OWNER)
    assert not nic_records.keep(OWNER)
    assert nic_records.list_all() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": "x"}', '{"addresses": 3}'])
def test_a_file_that_says_nothing_is_no_record(folder: Path, text: str) -> None:
    nic_records.write(RECORD)
    (path,) = folder.iterdir()
    path.write_text(text)
    assert nic_records.read(OWNER) is None
    assert nic_records.list_all() == []


def test_another_nodes_records_on_the_same_machine_are_not_ours(folder: Path) -> None:
    nic_records.write(RECORD)
    (path,) = folder.iterdir()
    _, _, digest = path.name.partition("-")
    path.rename(folder / f"1-{digest}")
    assert nic_records.read(OWNER) is None
    assert nic_records.list_all() == []


def test_a_folder_that_others_can_write_is_not_believed(folder: Path) -> None:
    nic_records.write(RECORD)
    folder.chmod(0o777)
    with pytest.raises(CniError, match="can be written by other users") as caught:
        nic_records.read(OWNER)
    assert caught.value.code == Code.IO_FAILURE
    with pytest.raises(CniError, match="can be written by other users"):
        nic_records.write(RECORD)


def test_a_fifo_in_the_place_of_a_file_is_an_error_at_once(folder: Path) -> None:
    nic_records.write(RECORD)
    (path,) = folder.iterdir()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CniError, match="is a FIFO"):
        nic_records.read(OWNER)

"""What was attached by hand is known after a crash, and to root alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from neutron_cni.cli.by_hand.records import Record, Records, begun
from neutron_cni.cli.by_hand.targets import Target
from neutron_cni.cni.runtime import Chain, Wishes, read_network
from neutron_cni.netlink.namespace import Identity, own_identity
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError

NETWORK = read_network({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one"}]})
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16"}]}


def record(container: str = "by-hand-c1", ifname: str = "eth0", word: str = "web") -> Record:
    target = Target("the docker container web", container, "/run/netns/c1", Identity(4, 99))
    attachment = Attachment(container, ifname, target.path)
    wishes = Wishes(("10.1.0.5/16",), "02:00:00:00:00:01")
    return begun(word, target, Chain(NETWORK, ("/bin",), attachment, PodRef("a", "b"), wishes))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    (tmp_path / "state").mkdir(mode=0o700)
    return Records(tmp_path / "state")


def test_what_is_written_is_read_again(records: Records) -> None:
    made = record()
    records.write(made)
    assert records.all() == ([made], [])
    done = replace(made, result=RESULT)
    records.write(done)
    assert records.all() == ([done], [])
    assert records.find(NETWORK, Attachment("by-hand-c1", "eth0")) == done
    records.remove(done)
    records.remove(done)
    assert records.all() == ([], [])


def test_a_record_says_which_calls_undo_it(records: Records) -> None:
    records.write(record())
    chain = records.all()[0][0].chain()
    assert chain.network == NETWORK
    assert chain.attachment == Attachment("by-hand-c1", "eth0", "/run/netns/c1")
    assert chain.pod == PodRef("a", "b")
    assert chain.wishes == Wishes(("10.1.0.5/16",), "02:00:00:00:00:01")


def test_each_interface_has_a_record_of_its_own(records: Records) -> None:
    for ifname in ("eth0", "net1"):
        records.write(record(ifname=ifname))
    assert sorted(item.ifname for item in records.all()[0]) == ["eth0", "net1"]
    assert records.find(NETWORK, Attachment("by-hand-c2", "eth0")) is None


def test_only_root_may_read_it(records: Records, tmp_path: Path) -> None:
    records.write(record())
    (file,) = (tmp_path / "state/by-hand").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_write_is_not_believed(records: Records, tmp_path: Path) -> None:
    records.write(record())
    (tmp_path / "state/by-hand").chmod(0o777)
    with pytest.raises(CniError, match="chmod go-w"):
        records.all()
    with pytest.raises(CniError, match="chmod go-w"):
        records.write(record())


def test_what_a_killed_one_left_half_written_is_no_record(records: Records, tmp_path: Path) -> None:
    records.write(record())
    (file,) = (tmp_path / "state/by-hand").iterdir()
    file.with_suffix(".new").write_text('{"word"')
    assert len(records.all()[0]) == 1
    records.write(record())
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_damaged_record_hides_no_other(records: Records, tmp_path: Path) -> None:
    records.write(record())
    (tmp_path / "state/by-hand/x.json").write_text("{")
    found, broken = records.all()
    assert len(found) == 1
    assert "x.json can't be read" in broken[0]


@pytest.mark.parametrize("word", ["web", "by-hand-c1", "id:by-hand-c1", "/run/netns/c1"])
def test_what_is_gone_is_known_by_what_it_was_called(word: str) -> None:
    assert record().is_called(word)
    assert not record().is_called("other")


def test_a_namespace_of_another_boot_is_gone() -> None:
    here = own_identity()
    made = replace(record(), netns="/proc/self/ns/net", device=here.device, inode=here.inode)
    target = Target("it", "c", "/proc/self/ns/net", here)
    assert made.live_path() == "/proc/self/ns/net"
    assert made.is_of(target)
    before = replace(made, boot="another")
    assert before.live_path() == ""
    assert not before.is_of(target)
    assert replace(made, inode=7).live_path() == ""
    assert replace(made, netns="/nowhere").live_path() == ""


def test_who_waits_for_another_attach_is_told(records: Records) -> None:
    identity = Identity(4, os.getpid())
    with (
        records.locked(identity, Deadline.after(60)),
        pytest.raises(CniError, match="another attach or detach is still at work"),
        records.locked(identity, Deadline.after(0.2)),
    ):
        pass


def test_without_records_there_are_none(tmp_path: Path) -> None:
    assert Records(tmp_path / "nowhere").all() == ([], [])

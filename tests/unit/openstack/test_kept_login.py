"""One login for all calls of a node: kept, replaced when it is of no use, used by nobody else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from neutron_cni.openstack import kept_login, patience
from neutron_cni.openstack.client import Client
from neutron_cni.openstack.errors import CloudError, Forbidden, Unauthorized, Unreachable
from neutron_cni.values import scrub
from neutron_cni.values.deadline import Deadline
from tests.fakes import FakeKeystone, FakeNeutron, Fault
from tests.fakes.keystone import SECRET
from tests.support.openstack_doubles import PASSWORD, Waits, client_from, clouds_yaml, get, put

LONG_AGO = kept_login.RECENT + 1


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own: no variable of OpenStack's, nothing concealed yet."""
    for name in os.environ:
        if name.startswith("OS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(scrub, "_concealed", {})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(patience, "time", waits)
    return waits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is `stateDir` on a node."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def application_credential(keystone: FakeKeystone) -> dict[str, Any]:
    auth = {
        "auth_url": f"{keystone.url}/v3",
        "application_credential_id": "id",
        "application_credential_secret": SECRET,
    }
    return {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}


def password(keystone: FakeKeystone) -> dict[str, Any]:
    names = ("project_name", "user_domain_name", "project_domain_name")
    auth = {"auth_url": f"{keystone.url}/v3", "username": "u", "password": SECRET}
    return {"auth": auth | dict.fromkeys(names, "x")}


ENTRIES = pytest.mark.parametrize(
    "entry", [application_credential, password], ids=["application credential", "password"]
)
Entry = Callable[[FakeKeystone], dict[str, Any]]


def process(folder: Path, entry: dict[str, Any], cloud: str = "c") -> Client:
    """The client of a new process of the node."""
    file = clouds_yaml(folder.parent, yaml.safe_dump({"clouds": {cloud: entry}}))
    return client_from(cloud, file, keep_in=str(folder))


def kept(folder: Path) -> Path:
    """The file."""
    (file,) = folder.iterdir()
    return file


def make_old(folder: Path) -> None:
    """The login was kept long ago."""
    then = kept(folder).stat().st_mtime - LONG_AGO
    os.utime(kept(folder), (then, then))


@ENTRIES
def test_processes_share_one_login_and_ask_keystone_nothing_else(
    neutron: FakeNeutron, keystone: FakeKeystone, folder: Path, entry: Entry
) -> None:
    assert get(process(folder, entry(keystone))) == {"ports": []}
    before = keystone.calls
    for _ in range(3):
        client = process(folder, entry(keystone))
        assert get(client) == {"ports": []}
        assert client.project_id(Deadline.after(5)) == "5" * 32
    assert (keystone.logins, keystone.calls) == (1, before)
    assert neutron.calls == {"GET /ports": 4}


def test_without_a_folder_nothing_is_kept(keystone: FakeKeystone, tmp_path: Path) -> None:
    file = clouds_yaml(
        tmp_path, yaml.safe_dump({"clouds": {"c": application_credential(keystone)}})
    )
    for _ in range(2):
        get(client_from("c", file))
    assert keystone.logins == 2
    assert [item.name for item in tmp_path.iterdir()] == ["clouds.yaml"]


def test_the_file_is_for_its_owner_and_has_no_password(
    keystone: FakeKeystone, folder: Path
) -> None:
    get(process(folder, password(keystone)))
    assert kept(folder).stat().st_mode & 0o777 == 0o600
    assert keystone.token in kept(folder).read_text()
    assert SECRET not in kept(folder).read_text()


def test_deleting_the_file_costs_a_login(keystone: FakeKeystone, folder: Path) -> None:
    client = process(folder, application_credential(keystone))
    get(client)
    kept(folder).unlink()
    assert get(client) == {"ports": []}
    assert get(process(folder, application_credential(keystone))) == {"ports": []}
    assert keystone.logins == 2


@ENTRIES
def test_a_token_that_was_revoked_is_replaced_once_for_all(
    neutron: FakeNeutron, keystone: FakeKeystone, folder: Path, entry: Entry
) -> None:
    get(process(folder, entry(keystone)))
    keystone.token = neutron.token = "another"
    for _ in range(3):
        assert get(process(folder, entry(keystone))) == {"ports": []}
    assert keystone.logins == 2


def test_a_change_is_made_once_also_where_the_kept_token_is_refused(
    neutron: FakeNeutron, keystone: FakeKeystone, folder: Path
) -> None:
    get(process(folder, application_credential(keystone)))
    keystone.token = neutron.token = "another"
    neutron.calls.clear()
    with pytest.raises(CloudError, match="could not be found"):
        put(process(folder, application_credential(keystone)), "/ports/x")
    assert neutron.calls.total() == 2  # the first was refused for its token, and then there is none
    assert keystone.logins == 2


def test_a_token_that_ends_soon_is_not_used(keystone: FakeKeystone, folder: Path) -> None:
    keystone.lifetime = timedelta(seconds=60)
    get(process(folder, application_credential(keystone)))
    before = keystone.logins
    keystone.lifetime = timedelta(hours=1)
    for _ in range(2):
        get(process(folder, application_credential(keystone)))
    assert keystone.logins == before + 1


@ENTRIES
@pytest.mark.parametrize("call", [get, lambda client: put(client, "/ports/x")], ids=["get", "put"])
def test_when_the_new_login_is_refused_nothing_is_kept(
    neutron: FakeNeutron, keystone: FakeKeystone, folder: Path, entry: Entry, call: Any
) -> None:
    """The credential was deleted; and Keystone may say so when it is asked for its versions."""
    get(process(folder, entry(keystone)))
    neutron.token, keystone.status = "another", 401
    with pytest.raises(Unauthorized, match="refused our credentials"):
        call(process(folder, entry(keystone)))
    assert list(folder.iterdir()) == []


CHANGES: dict[str, dict[str, Any]] = {
    "password": {"auth": {"password": "other" + SECRET}},
    "user": {"auth": {"username": "v"}},
    "project": {"auth": {"project_name": "q"}},
    "project's domain": {"auth": {"project_domain_name": "y"}},
    "user's domain": {"auth": {"user_domain_name": "y"}},
    "Keystone": {"auth": {"auth_url": "{url}"}},
    "region": {"region_name": "RegionOne"},
    "interface": {"interface": "internal"},
    "certificates": {"verify": False},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_entry_is_never_served_with_the_token_of_this_one(
    neutron: FakeNeutron, keystone: FakeKeystone, folder: Path, change: dict[str, Any]
) -> None:
    before = password(keystone)
    get(process(folder, before))
    after = before | change | {"auth": before["auth"] | change.get("auth", {})}
    after["auth"]["auth_url"] = after["auth"]["auth_url"].format(url=f"{keystone.url}/v3/")
    neutron.calls.clear()
    client = process(folder, after)
    assert list(folder.iterdir()) == []  # what was kept is gone before anything is asked
    try:
        get(client)
    except Unauthorized:
        assert neutron.calls.total() == 0
    assert keystone.logins == 2


def test_two_clouds_keep_a_login_each(keystone: FakeKeystone, folder: Path) -> None:
    for _ in range(2):
        get(process(folder, application_credential(keystone), "c"))
        get(process(folder, application_credential(keystone), "d"))
    assert keystone.logins == 2
    assert len(list(folder.iterdir())) == 2


def test_the_secret_that_is_wrong_now_is_refused_although_a_token_was_kept(
    keystone: FakeKeystone, folder: Path
) -> None:
    good = application_credential(keystone)
    get(process(folder, good))
    bad = good | {"auth": good["auth"] | {"application_credential_secret": PASSWORD}}
    with pytest.raises(Unauthorized, match="refused our credentials"):
        get(process(folder, bad))


def test_of_an_entry_without_a_login_nothing_is_kept(neutron: FakeNeutron, folder: Path) -> None:
    entry = {"auth_type": "none", "auth": {"endpoint": neutron.url}}
    assert get(process(folder, entry)) == {"ports": []}
    assert list(folder.iterdir()) == []


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(b"expires_at") + 16] ^= 1
    file.write_bytes(content)


def of_another_release(file: Path) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"version": 2}))


def made_up(file: Path) -> None:
    """Somebody who does not know the password would like our calls to go to another place."""
    content = json.loads(file.read_text())
    content["state"] = content["state"].replace("127.0.0.1", "127.0.0.2")
    file.write_text(json.dumps(content))


def linked(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere.json")
    file.symlink_to(file.parent.parent / "elsewhere.json")


def queued(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "a bit": flipped,
    "a list": lambda file: file.write_text("[]"),
    "null": lambda file: file.write_text("null"),
    "other keys": lambda file: file.write_text('{"version": 1, "salt": 5}'),
    "deep": lambda file: file.write_text("[" * 100_000),
    "no text": lambda file: file.write_bytes(b"\xff\xfe"),
    "another release's": of_another_release,
    "made up": made_up,
    "readable by others": lambda file: file.chmod(0o644),
    "writable by others": lambda file: file.chmod(0o602),
    "a link": linked,
    "a FIFO": queued,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_can_not_be_trusted_is_replaced(
    keystone: FakeKeystone, folder: Path, damage: Callable[[Path], object]
) -> None:
    get(process(folder, application_credential(keystone)))
    damage(kept(folder))
    for _ in range(2):
        assert get(process(folder, application_credential(keystone))) == {"ports": []}
    assert keystone.logins == 2
    assert not kept(folder).is_symlink()
    assert kept(folder).stat().st_mode & 0o777 == 0o600


def test_nothing_is_kept_in_a_folder_that_others_can_write(
    keystone: FakeKeystone, folder: Path
) -> None:
    get(process(folder, application_credential(keystone)))
    folder.chmod(0o777)
    get(process(folder, application_credential(keystone)))
    get(process(folder, application_credential(keystone)))
    assert keystone.logins == 3
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("there", ["nothing", "a file"])
def test_where_there_is_no_folder_calls_go_all_the_same(
    keystone: FakeKeystone, folder: Path, there: str
) -> None:
    folder.rmdir()
    if there == "a file":
        folder.touch()
    assert get(process(folder, application_credential(keystone))) == {"ports": []}


def test_a_directory_in_the_files_place_costs_logins_only(
    keystone: FakeKeystone, folder: Path
) -> None:
    get(process(folder, application_credential(keystone)))
    file = kept(folder)
    file.unlink()
    file.mkdir()
    assert get(process(folder, application_credential(keystone))) == {"ports": []}
    shutil.rmtree(file)


def test_what_a_killed_writer_left_does_not_stand_in_the_way(
    keystone: FakeKeystone, folder: Path
) -> None:
    get(process(folder, application_credential(keystone)))
    file = kept(folder)
    left = file.with_suffix(".new")
    file.rename(left)
    get(process(folder, application_credential(keystone)))
    assert not file.exists()  # its writer may be at work still
    then = left.stat().st_mtime - LONG_AGO
    os.utime(left, (then, then))
    get(process(folder, application_credential(keystone)))
    assert kept(folder) == file


def test_a_service_that_moved_is_found_by_a_new_login(
    keystone: FakeKeystone, neutron: FakeNeutron, folder: Path, waits: Waits
) -> None:
    with FakeNeutron() as elsewhere:
        elsewhere.token = keystone.token
        get(process(folder, application_credential(keystone)))
        keystone.network_url = elsewhere.url
        neutron.stop()
        # A cloud that is away for a moment costs no logins.
        with pytest.raises(Unreachable):
            get(process(folder, application_credential(keystone)))
        assert keystone.logins == 1
        make_old(folder)
        assert get(process(folder, application_credential(keystone))) == {"ports": []}
        assert keystone.logins == 2


@pytest.mark.parametrize("status", [403, 503])
def test_a_call_that_is_refused_with_an_old_login_is_the_last_one_with_it(
    keystone: FakeKeystone, neutron: FakeNeutron, folder: Path, waits: Waits, status: int
) -> None:
    """A role that was given since then may be in a new token only."""
    get(process(folder, application_credential(keystone)))
    make_old(folder)
    neutron.faults.add(Fault(status=status, times=-1))
    with pytest.raises(CloudError) as caught:
        put(process(folder, application_credential(keystone)), "/ports/x")
    assert isinstance(caught.value, Forbidden) == (status == 403)
    assert list(folder.iterdir()) == []


def test_a_catalog_without_neutron_is_not_kept(
    keystone: FakeKeystone, neutron: FakeNeutron, folder: Path
) -> None:
    keystone.network_url = None
    with pytest.raises(Unauthorized, match="catalog"):
        get(process(folder, application_credential(keystone)))
    keystone.network_url = neutron.url
    assert get(process(folder, application_credential(keystone))) == {"ports": []}


def test_a_kept_token_is_in_no_message(
    keystone: FakeKeystone, neutron: FakeNeutron, folder: Path, waits: Waits
) -> None:
    get(process(folder, application_credential(keystone)))
    scrub._concealed = {}
    page = f"<html><title>X-Auth-Token: {keystone.token}</title></html>"
    neutron.faults.add(Fault(status=418, body=page, times=-1))
    with pytest.raises(CloudError, match="X-Auth-Token: <token>") as caught:
        put(process(folder, application_credential(keystone)), "/ports/x")
    assert keystone.token not in str(caught.value)


def test_processes_that_log_in_at_once_do_not_disturb_each_other(
    keystone: FakeKeystone, folder: Path
) -> None:
    clients = [process(folder, application_credential(keystone)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, clients)) == [{"ports": []}] * 8
    logins = keystone.logins
    assert get(process(folder, application_credential(keystone))) == {"ports": []}
    assert keystone.logins == logins

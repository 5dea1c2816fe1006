"""How often STATUS asks the cloud, and what of that is an error at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, readiness
from neutron_cni.ipam import status as module
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.room import Capacity
from neutron_cni.ipam.status import last_look
from neutron_cni.netlink.facts import Uplink
from neutron_cni.store import Store
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.unit.ipam.status.place import (
    Place,
    failing,
)


@pytest.mark.parametrize(
    ("mode", "calls"),
    [(Mode.FIXED_IPS, 4), (Mode.PORT, 5), (Mode.ADDRESS_PAIRS, 5)],
    ids=lambda value: str(value),
)
def test_the_cloud_is_asked_once_a_minute_and_keystone_once_in_all(
    place: Place, mode: Mode, calls: int
) -> None:
    config = place.config(mode)
    assert place.ask(config) == []
    neutron, keystone = place.calls()
    # That ports can be tagged in this cloud is asked once an hour.
    assert neutron == calls + 1
    for _ in range(11):  # every five seconds, as containerd does
        place.clock.now += 5
        assert place.ask(config) == []
    assert place.calls() == (neutron, keystone)
    place.clock.now += 5
    assert place.ask(config) == []
    assert place.calls() == (neutron + calls, keystone)
    assert place.keystone.logins == 1


def test_an_add_a_check_and_a_del_after_it_need_no_login_of_their_own(place: Place) -> None:
    place.ask()
    before = place.keystone.calls
    attachment = Attachment("container", "eth0", "/run/netns/none")
    request = IpamRequest("net", attachment, place.config(quarantine=0), Deadline.after(20))
    ipam = own_ipam()
    ipam.acquire(request)
    assert ipam.verify(request) == []
    ipam.release(request)
    assert place.keystone.calls == before


def test_a_status_that_asks_no_cloud_imports_nothing_that_could(place: Place) -> None:
    """The whole call, as the launcher runs it."""
    config = place.config()
    with Store(config.state_dir) as store:
        now = module._moment(store)
        look = readiness.Look(
            boot=now.boot,
            asked=time.clock_gettime(time.CLOCK_BOOTTIME),
            clock=time.time(),
            jitter=1.0,
            files=module._state_of_files(config),
            capacity=Capacity(()),
        )
        store.remember(module._key(config), readiness.encode(look))
    document = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "cni-ipam-neutron",
        "ipam": place.section(),
    }
    program = (
        "import sys\n"
        "from neutron_cni.hosts.call import run\n"
        "print(run('cni-ipam-neutron', {'CNI_COMMAND': 'STATUS', 'CNI_PATH': '/opt/cni/bin'},"
        f" {json.dumps(document).encode()!r}))\n"
        "print([m for m in sys.modules if m.startswith(('openstack', 'keystoneauth1', 'requests',"
        " 'urllib3', 'pyroute2', 'neutron_cni.openstack'))])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.decode().splitlines() == [
        "Answer(status=0, stdout=b'', stderr='')",
        "[]",
    ]
    assert place.calls() == (0, 0)


def test_other_credentials_are_tried_at_once(place: Place) -> None:
    place.ask()
    place.write_clouds("wrong")
    assert "refused our credentials" in place.refused()
    place.write_clouds()
    assert place.ask() == []


def test_another_configuration_is_asked_for_at_once(place: Place) -> None:
    place.ask()
    (note,) = place.ask(place.config(subnets=["nosuch"]))
    assert "no subnets named nosuch" in note
    assert place.ask() == []


def test_options_that_are_not_asked_about_cost_no_look(place: Place) -> None:
    place.ask()
    before = place.calls()
    place.ask(place.config(quarantine=5, timeout=20, statusPatience=5, capacityInStatus=True))
    assert place.calls() == before


def test_credentials_that_are_refused_are_an_error_at_once(place: Place) -> None:
    """Although the last good answer is a minute old: the application credential was deleted."""
    place.ask()
    place.clock.now += 61
    place.scene.neutron.token, place.keystone.status = "another", 401
    assert "refused our credentials" in place.refused()
    place.scene.neutron.token, place.keystone.status = place.keystone.token, None
    place.clock.now += 31
    assert place.ask() == []


def test_a_vm_without_a_port_is_an_error_within_seconds(place: Place) -> None:
    place.ask()
    place.clock.now += 61
    place.scene.call("DELETE", f"/ports/{place.host.port_id}")
    (note,) = place.ask()
    assert "an error if the cloud says so again" in note
    place.clock.now += 6
    assert "does not exist" in place.refused()


@pytest.mark.parametrize("what", ["networks", "subnets", "extensions"])
def test_one_odd_answer_evicts_no_pod(place: Place, what: str) -> None:
    """Of a gateway, a cache or a database that lags: the cloud has no such thing, once."""
    config = place.config(Mode.PORT, subnets=["10.9.0.0/26"])
    assert place.ask(config) == []
    with Store(config.state_dir) as store:
        store.forget_old("", -1.0)  # Which extensions there are is asked once an hour.
        store.remember(module._worked(config), "yes")
    place.clock.now += 100
    odd = Fault("GET", f"/{what}$", status=200, body=json.dumps({what: []}), times=1)
    place.scene.neutron.faults.add(odd)
    (note,) = place.ask(config)
    assert "an error if the cloud says so again" in note
    place.clock.now += 61
    assert place.ask(config) == []


def test_without_metadata_the_port_may_be_found_in_a_minute(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is no word of Neutron's, and so no reason to evict pods."""
    nic = Uplink("eth0", "fa:16:3e:00:00:01", 1500, (ip_interface("10.9.0.9/26"),))
    monkeypatch.setattr(node, "uplink", lambda name: nic)
    by_metadata = place.config(portLookup="metadata", portId=None, metadataUrl="http://127.0.0.1:1")
    assert "never had an answer" in place.refused(by_metadata)
    place.ask()
    place.clock.now += 61
    (note,) = place.ask(by_metadata)
    assert "metadata service" in note


def test_a_store_that_can_not_be_opened_is_an_error_at_once(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "store" in place.refused(place.config(stateDir=str(tmp_path / "file" / "state")))


@pytest.mark.parametrize("trouble", [lambda place: None, failing], ids=["well", "away"])
def test_a_look_that_can_not_be_recorded_is_an_error(
    place: Place, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Place], None]
) -> None:
    """A full disk, on which no ADD could write. Where the cloud is away, too, patience would never
    end, as nobody knows since when."""
    place.ask()
    place.clock.now += 61
    trouble(place)

    def full(store: Store, key: str, value: str | None) -> None:
        raise CniError(Code.STORE, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remember", full)
        assert place.refused() == "disk full"
        place.clock.now += 5
        assert place.refused() == "disk full"
    assert ("can't be asked" in str(place.ask())) == (trouble is failing)


def test_a_record_that_can_not_be_read_is_none(place: Place) -> None:
    place.ask()
    with Store(place.config().state_dir) as store:
        store.remember(module._key(place.config()), '{"version": 9}')
    assert place.ask() == []
    with Store(place.config().state_dir) as store:
        assert last_look(store, place.config()) is not None

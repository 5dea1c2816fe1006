"""One answer that something is absent loses nothing: no lease, no port, no pod."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import absence, locate, node, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit.survey import survey
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.netlink.facts import Uplink
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.store import Record, State, Store
from neutron_cni.store.giving_back import ABSENCE_SECONDS
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.reliability.life import QUARANTINE
from tests.reliability.scene import Host, Scene, addresses_on, pairs_on
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
RESERVING = pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
NO_PORTS = json.dumps({"ports": []})


class Node:
    """A node whose IPAM is this process."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.host = Host(scene, "node")

    def config(self, mode: Mode) -> IpamConfig:
        return msgspec.convert(self.host.config(mode, quarantine=0), IpamConfig)

    def request(self, mode: Mode, container: str = "c1") -> IpamRequest:
        attachment = Attachment(container, "eth0", f"/run/netns/{container}")
        return IpamRequest("net", attachment, self.config(mode), Deadline.after(20))

    def add(self, mode: Mode, container: str = "c1") -> None:
        own_ipam().acquire(self.request(mode, container))

    def delete(self, mode: Mode, container: str = "c1") -> None:
        own_ipam().release(self.request(mode, container))

    def settle(self) -> None:
        with Store(str(self.host.state_dir)) as store:
            for anchor in {record.anchor for record in store.all()}:
                settle_anchor(store, anchor, Deadline.after(20))

    def records(self) -> list[Record]:
        with Store(str(self.host.state_dir)) as store:
            return store.all()

    def pass_time(self, seconds: float) -> None:
        """All that the store knows is so much older."""
        with closing(sqlite3.connect(self.host.store_file)) as database, database:
            database.execute(
                "UPDATE lease SET until = until - ?, absent = MAX(0, absent - ?)",
                (seconds, seconds),
            )
            database.execute("UPDATE fact SET at = at - ?", (seconds,))

    def hide(self, port_id: str, times: int = 1, listed_too: bool = True) -> None:
        """A bad answer says that there is no such port."""
        faults = self.scene.neutron.faults
        faults.add(Fault("GET", f"/ports/{port_id}", status=404, times=times))
        if listed_too:
            faults.add(Fault("GET", "/ports$", status=200, body=NO_PORTS, times=times))


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node in a cloud."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda config: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    with Scene(tmp_path / "scene") as scene:
        yield Node(scene)


@ALL_MODES
def test_a_row_goes_only_after_a_second_look(one: Node, mode: Mode) -> None:
    one.add(mode)
    one.delete(mode)
    for seconds in (0, 0, ABSENCE_SECONDS / 2):
        one.pass_time(seconds)
        one.settle()
        assert [record.state for record in one.records()] == [State.RELEASED]
    one.pass_time(ABSENCE_SECONDS)
    one.settle()
    assert one.records() == []


@RESERVING
def test_a_port_that_the_first_look_did_not_show_is_removed_after_the_second(
    one: Node, mode: Mode
) -> None:
    one.add(mode)
    (port,) = one.scene.reserves()
    one.delete(mode)
    one.hide(port["id"], FOREVER)
    one.settle()
    one.scene.neutron.faults.clear()
    assert [record.state for record in one.records()] == [State.RELEASED]
    for _ in range(3):
        one.pass_time(ABSENCE_SECONDS + 1)
        one.settle()
    assert one.scene.reserves() == []
    assert one.records() == []


def test_an_address_that_the_first_look_did_not_show_is_taken_off_after_the_second(
    one: Node,
) -> None:
    """A cache answers with the port as it was before."""
    stale = json.dumps({"port": one.scene.port(one.host.port_id)})
    one.add(Mode.FIXED_IPS)
    one.delete(Mode.FIXED_IPS)
    one.scene.neutron.faults.add(
        Fault("GET", f"/ports/{one.host.port_id}", status=200, body=stale, times=FOREVER)
    )
    for _ in range(3):
        one.settle()
        one.pass_time(ABSENCE_SECONDS + 1)
        assert [record.state for record in one.records()] == [State.RELEASED], "the list shows it"
    one.scene.neutron.faults.clear()
    for _ in range(3):
        one.settle()
        one.pass_time(ABSENCE_SECONDS + 1)
    assert set(addresses_on(one.scene.port(one.host.port_id))) == one.host.own
    assert one.scene.port(one.host.port_id)["tags"] == []
    assert one.records() == []


@RESERVING
def test_a_port_that_one_answer_hides_fails_no_check_and_is_not_missing(
    one: Node, mode: Mode
) -> None:
    one.add(mode)
    (port,) = one.scene.reserves()
    one.hide(port["id"], listed_too=False)
    assert own_ipam().verify(one.request(mode)) == []
    one.hide(port["id"], listed_too=False)
    with Store(str(one.host.state_dir)) as store:
        assert survey(store, one.host.conf_dir).findings == []


@ALL_MODES
def test_what_two_looks_miss_does_fail_check(one: Node, mode: Mode) -> None:
    one.add(mode)
    one.scene.call("PUT", f"/ports/{one.host.port_id}", {"port": {"fixed_ips": []}})
    for port in one.scene.reserves():
        one.scene.call("DELETE", f"/ports/{port['id']}")
    assert own_ipam().verify(one.request(mode))


def connected(config: IpamConfig) -> closing[Neutron]:
    """The cloud of that configuration, to be used with `with`."""
    return closing(Neutron.connect(config.cloud, config.clouds_file, Deadline.after(20)))


def find(one: Node) -> str:
    """The id of the VM's port, as it is found by the NIC's address unless it is remembered."""
    port = one.scene.port(one.host.port_id)
    nic = Uplink(name="ens3", mac=port["mac_address"], mtu=1500, addresses=())
    config = one.config(Mode.FIXED_IPS)
    with Store(str(one.host.state_dir)) as store, connected(config) as neutron:
        return locate.vm_port(config, store, neutron, lambda name: nic).id


@pytest.mark.parametrize("listed_too", [False, True])
def test_no_other_port_is_searched_for_a_vm_whose_port_one_look_does_not_show(
    one: Node, listed_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    assert find(one) == one.host.port_id
    monkeypatch.setattr(locate, "_find", lambda *about: searched.append("a port"))
    one.hide(one.host.port_id, listed_too=listed_too)
    assert find(one) == one.host.port_id
    assert searched == []


def test_when_it_was_first_seen_absent_survives_a_kill(
    one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for its second look is killed; the next one need not wait again."""
    assert find(one) == one.host.port_id
    one.scene.call("DELETE", f"/ports/{one.host.port_id}")
    waits: list[str] = []

    def die(deadline: Deadline) -> bool:
        waits.append("wait")
        raise MemoryError

    monkeypatch.setattr(absence, "pause", die)
    config = one.config(Mode.FIXED_IPS)
    with Store(str(one.host.state_dir)) as store, connected(config) as neutron:

        def look() -> tuple[object, bool]:
            return absence.look(store, neutron, one.host.port_id, patiently=True)

        with pytest.raises(MemoryError):
            look()
        one.pass_time(ABSENCE_SECONDS + 1)
        assert look() == (None, True)
    assert waits == ["wait"]


PAUSE = absence.pause
"""The real one, which other tests do without."""


def test_a_second_look_that_does_not_fit_into_the_call_is_not_waited_for(
    one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the first one enough: the VM's port is not searched anew, and CHECK fails for none."""
    one.add(Mode.FIXED_IPS)
    monkeypatch.setattr(absence, "pause", PAUSE)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"{seconds} s are waited"))
    one.hide(one.host.port_id, times=FOREVER)
    short = replace(one.request(Mode.FIXED_IPS), deadline=Deadline.after(ABSENCE_SECONDS - 1))
    with pytest.raises(CniError, match="no time for a second look") as caught:
        own_ipam().verify(short)
    assert caught.value.code == Code.TRY_AGAIN
    one.pass_time(ABSENCE_SECONDS + 1)  # The next call need not wait: the first look is recorded.
    with pytest.raises(CniError) as caught:
        own_ipam().verify(short)
    assert caught.value.code == Code.PORT_NOT_FOUND


def test_check_needs_a_second_look_for_a_difference_and_time_for_it(
    one: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.add(Mode.FIXED_IPS)
    fixed_ips = one.scene.port(one.host.port_id)["fixed_ips"]
    own = [item for item in fixed_ips if ip_address(item["ip_address"]) in one.host.own]
    assert len(own) < len(fixed_ips)
    one.scene.call("PUT", f"/ports/{one.host.port_id}", {"port": {"fixed_ips": own}})
    monkeypatch.setattr(absence, "pause", PAUSE)
    short = replace(one.request(Mode.FIXED_IPS), deadline=Deadline.after(ABSENCE_SECONDS - 1))
    with pytest.raises(CniError, match="no time for a second look, which is to confirm") as caught:
        own_ipam().verify(short)
    assert caught.value.code == Code.TRY_AGAIN


def test_ports_that_came_late_are_found_within_the_hour(new_life: LifeMaker) -> None:
    """A port whose creation arrived after everybody had stopped waiting for it."""
    life = new_life(Mode.PORT)
    assert life.add().ok
    (port,) = life.scene.reserves()
    tags = [tag for tag in port["tags"] if not tag.startswith("ncni-token")]
    late = life.scene.new_port(device_owner="neutron-cni:pod", device_id="late", name="late")
    life.scene.call("POST", f"/ports/{late}/tags", {"tags": [*tags, "ncni-token=00000000"]})
    life.pass_time(600)
    assert life.add().ok
    assert len(life.host.records()) == 2, "it is not looked for at each ADD"
    life.pass_time(3600)
    assert life.add().ok
    assert len(life.host.records()) == 4
    life.pass_time(QUARANTINE + 1)
    assert life.end() == []


@pytest.mark.parametrize("port_is", ["there, but one list lacks it", "gone"])
def test_a_pair_of_an_add_that_was_killed_is_never_forgotten_with_its_port(
    new_life: LifeMaker, port_is: str
) -> None:
    """The repeated ADD does not see the port that the first one made."""
    life = new_life(Mode.ADDRESS_PAIRS)
    killed = life.add_killed_at(f"PUT /ports/{life.host.port_id}$")
    killed.arrive()
    (pair,) = pairs_on(life.scene.port(life.host.port_id))
    if port_is == "gone":
        for port in life.scene.reserves():
            life.scene.call("DELETE", f"/ports/{port['id']}")
    else:
        empty = Fault("GET", "/ports$", status=200, body=NO_PORTS, skip=1, times=1)
        life.scene.neutron.faults.add(empty)
    outcome = life.add("c1")
    assert outcome.ok, outcome.error
    left = [record for record in life.host.records() if record.state is State.RELEASED]
    assert [str(item.address) for record in left for item in record.addresses] == [pair]
    assert pairs_on(life.scene.port(life.host.port_id)) == list(map(str, outcome.addresses))
    assert life.end() == []

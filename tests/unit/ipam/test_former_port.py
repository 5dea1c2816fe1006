"""A VM whose NIC has another Neutron port than before: its pods, and what the old one has."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import absence, locate, node, service, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit.survey import survey
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.store import State, Store
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import Fault
from tests.reliability.scene import Host, Scene, addresses_on, pairs_on

NO_PORTS = json.dumps({"ports": []})


class Vm:
    """One node, its IPAM in this process, and the port that its NIC has now."""

    def __init__(self, scene: Scene, mode: Mode) -> None:
        self.scene = scene
        self.host = Host(scene, "node")
        config = self.host.config(mode, quarantine=0, hostInterface="ens3", portLookup="address")
        config.pop("portId")
        self.config = msgspec.convert(config, IpamConfig)
        self.port_id = self.host.port_id

    def port(self, config: IpamConfig, store: Store, neutron: Neutron, uplink: Any) -> Port:
        """In the place of `locate.vm_port`."""
        if not self.port_id:
            raise CniError(Code.PORT_NOT_FOUND, "no port")
        return neutron.port(self.port_id)

    def add(self, container: str) -> IPAddress:
        lease = own_ipam().acquire(self._about(container))
        return lease.addresses[0].address.ip

    def delete(self, container: str) -> None:
        own_ipam().release(self._about(container))

    def settle(self) -> None:
        """As often, and so far apart, as it takes to believe that something is gone."""
        errors = []
        for _ in range(3):
            try:
                self.settle_once()
            except CniError as error:
                errors.append(error)
            self.pass_time()
        if errors:
            raise errors[0]

    def settle_once(self) -> None:
        with Store(self.config.state_dir) as store:
            for anchor in {record.anchor for record in store.all()}:
                settle_anchor(store, anchor, Deadline.after(20))

    def pass_time(self) -> None:
        """So long that no late update is awaited any more, and a second look may follow."""
        path = Path(self.config.state_dir, "store.db")
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE lease SET until = 0, absent = MAX(0, absent - 60)")
            database.execute("UPDATE fact SET at = at - 60 WHERE key LIKE 'absent|%'")

    def states(self) -> list[State]:
        with Store(self.config.state_dir) as store:
            return [record.state for record in store.all()]

    def on(self, port_id: str) -> set[IPAddress]:
        return set(addresses_on(self.scene.port(port_id)))

    def tags(self, port_id: str) -> list[str]:
        found: list[str] = self.scene.port(port_id)["tags"]
        return found

    def own_address(self, port_id: str) -> IPAddress:
        (address,) = self.on(port_id)
        return address

    def change(self, port_id: str, **attributes: Any) -> None:
        self.scene.call("PUT", f"/ports/{port_id}", {"port": attributes})

    def _about(self, container: str) -> IpamRequest:
        attachment = Attachment(container, "eth0", f"/run/netns/{container}")
        return IpamRequest("net", attachment, self.config, Deadline.after(20))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cloud."""
    with Scene(tmp_path / "scene") as made:
        yield made


@pytest.fixture
def vm(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """A VM in mode `fixed-ips`."""
    return make(scene, Mode.FIXED_IPS, monkeypatch)


def make(scene: Scene, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> Vm:
    made = Vm(scene, mode)
    monkeypatch.setattr(locate, "vm_port", made.port)
    monkeypatch.setattr(sweeper, "start_sweeper", lambda config: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    return made


def test_an_address_that_the_new_port_has_as_its_own_stays(vm: Vm, scene: Scene) -> None:
    """The old port went with the old VM, and Neutron gave one of its addresses to the new VM."""
    address = vm.add("c1")
    first = vm.port_id
    vm.change(first, fixed_ips=[])
    vm.port_id = scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    scene.call("DELETE", f"/ports/{first}")

    vm.settle()
    vm.delete("c1")
    vm.settle()
    assert vm.on(vm.port_id) == {address}
    assert vm.tags(vm.port_id) == []
    assert vm.states() == []


def test_what_a_dead_pod_had_is_taken_off_a_port_that_lives_on(vm: Vm, scene: Scene) -> None:
    vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    own = vm.host.own
    vm.delete("c1")
    vm.settle()
    assert vm.on(first) == own
    assert vm.tags(first) == []
    assert vm.states() == []


def test_what_can_not_be_taken_off_the_old_port_says_why(vm: Vm, scene: Scene) -> None:
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    pointing = {"port_id": first, "fixed_ip_address": str(address), "router_id": None}
    scene.neutron.cloud.add("floatingips", pointing)
    vm.delete("c1")
    vm.settle_once()
    with Store(vm.config.state_dir) as store:
        (why,) = survey(store, vm.host.conf_dir, offline=True).waits.values()
    assert "floating" in why.lower()


def test_live_pods_follow_to_the_new_port_with_claims(vm: Vm, scene: Scene) -> None:
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    own = vm.own_address(vm.port_id)
    vm.settle()
    assert vm.on(first) == vm.host.own
    assert vm.tags(first) == []
    assert vm.on(vm.port_id) == {own, address}
    assert len(vm.tags(vm.port_id)) == 1
    vm.delete("c1")
    vm.settle()
    assert vm.on(vm.port_id) == {own}
    assert vm.tags(vm.port_id) == []
    assert vm.states() == []


def test_pods_stay_on_a_port_that_the_vm_has_as_another_nic(vm: Vm, scene: Scene) -> None:
    """The default route went to the other NIC; it may come back in a moment."""
    vm.change(vm.port_id, device_id="vm-1")
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port(device_id="vm-1")
    vm.settle()
    assert address in vm.on(first)
    vm.delete("c1")
    vm.settle()
    assert vm.on(first) == vm.host.own
    assert vm.states() == []


def test_an_add_that_was_killed_on_the_old_port_leaves_nothing_there(
    vm: Vm, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Store, "hold", lambda self, leases: (_ for _ in ()).throw(MemoryError))
        patch.setattr(service, "_give_up", lambda store, record, call: None)
        with pytest.raises(MemoryError):
            vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    assert len(vm.on(first)) == 2
    address = vm.add("c1")
    assert vm.on(first) == vm.host.own
    assert address in vm.on(vm.port_id)
    vm.settle()
    assert vm.tags(first) == []
    assert vm.states() == [State.HELD]


def killed_before_its_update_arrives(
    vm: Vm, monkeypatch: pytest.MonkeyPatch, method: str = "set_fixed_ips"
) -> list[dict[str, str]]:
    """An ADD of c1 dies while its update of the VM's port is on its way; what that update says."""
    late: list[list[dict[str, str]]] = []

    def sent(self: Neutron, port: Port, items: Iterable[Any]) -> Port:
        late.append([item.to_json() for item in items])
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Neutron, method, sent)
        patch.setattr(service, "_give_up", lambda store, record, call: None)
        with pytest.raises(MemoryError):
            vm.add("c1")
    (update,) = late
    return update


@pytest.mark.parametrize("now", ["another port", "no port", "the same port"])
def test_an_update_that_comes_late_leaves_nothing_on_the_port_it_was_for(
    vm: Vm, scene: Scene, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    late = killed_before_its_update_arrives(vm, monkeypatch)
    first = vm.port_id
    if now == "another port":
        vm.port_id = scene.new_port()
        vm.add("c1")
    elif now == "no port":
        vm.port_id = ""
        vm.delete("c1")
    with suppress(CniError):
        vm.settle_once()
    assert len(vm.tags(first)) == 1, "the claim says whose the address is that comes late"
    vm.change(first, fixed_ips=late)
    assert len(vm.on(first)) == 2
    vm.delete("c1")
    with suppress(CniError):
        vm.settle()
    assert vm.on(first) == vm.host.own
    assert vm.tags(first) == []
    assert vm.states() == []


def test_an_address_that_a_former_port_shows_at_the_second_look_only_is_taken_off(
    vm: Vm, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came after the first look, which then counts for nothing: the claim stays so long."""
    late = killed_before_its_update_arrives(vm, monkeypatch)
    first, vm.port_id = vm.port_id, ""
    vm.delete("c1")
    vm.pass_time()
    with pytest.raises(CniError, match="no port"):
        vm.settle_once()
    vm.change(first, fixed_ips=late)
    vm.pass_time()
    with pytest.raises(CniError, match="no port"):
        vm.settle_once()
    assert vm.on(first) == vm.host.own
    assert vm.states() == [State.RELEASED], "this was a first look again"
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert vm.tags(first) == []
    assert vm.states() == []


def test_without_any_port_what_is_due_is_given_back_all_the_same(vm: Vm, scene: Scene) -> None:
    vm.add("c1")
    vm.add("c2")
    first, vm.port_id = vm.port_id, ""
    vm.delete("c1")
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert len(vm.on(first)) == 2
    assert len(vm.tags(first)) == 1
    assert vm.states() == [State.HELD]
    scene.call("DELETE", f"/ports/{first}")
    vm.delete("c2")
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert vm.states() == []


def test_without_any_port_what_is_due_of_pairs_is_given_back_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    vm.add("c1")
    kept = vm.add("c2")
    first, vm.port_id = vm.port_id, ""
    vm.delete("c1")
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert pairs_on(scene.port(first)) == [str(kept)]
    assert [addresses_on(port) for port in scene.reserves()] == [[kept]]
    assert vm.states() == [State.HELD]


def test_claims_that_another_tool_wiped_are_written_again(vm: Vm, scene: Scene) -> None:
    vm.add("c1")
    (tag,) = vm.tags(vm.port_id)
    scene.call("PUT", f"/ports/{vm.port_id}/tags", {"tags": ["theirs"]})
    vm.add("c2")
    assert tag in vm.tags(vm.port_id)
    assert "theirs" in vm.tags(vm.port_id)


def test_a_pair_is_taken_off_the_port_that_the_vm_had(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    vm.settle()
    assert pairs_on(scene.port(vm.port_id)) == [str(address)]
    second, vm.port_id = vm.port_id, scene.new_port()
    vm.settle()
    assert pairs_on(scene.port(vm.port_id)) == [str(address)]
    assert pairs_on(scene.port(second)) == []
    (reserved,) = scene.reserves()
    assert [tag for tag in reserved["tags"] if "parent" in tag] == [f"ncni-parent={vm.port_id}"]
    vm.delete("c1")
    vm.settle()
    assert pairs_on(scene.port(first)) == []
    assert pairs_on(scene.port(vm.port_id)) == []
    assert scene.reserves() == []


def test_a_lost_store_finds_the_reserving_ports_of_the_port_that_the_vm_had(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    vm.host.lose_store()
    other = vm.add("c2")
    time.sleep(0.01)
    vm.settle()
    assert [addresses_on(port) for port in scene.reserves()] == [[other]]
    assert str(address) not in pairs_on(scene.port(first))
    assert ip_address(pairs_on(scene.port(vm.port_id))[0]) == other


@pytest.mark.parametrize("now", ["another port", "no port", "the same port"])
def test_a_pair_that_comes_late_does_not_stay_on_the_port_it_was_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    late = killed_before_its_update_arrives(vm, monkeypatch, "set_address_pairs")
    first = vm.port_id
    if now == "another port":
        vm.port_id = scene.new_port()
        vm.add("c1")
    elif now == "no port":
        vm.port_id = ""
        vm.delete("c1")
    with suppress(CniError):
        vm.settle_once()
    vm.change(first, allowed_address_pairs=late)
    vm.delete("c1")
    with suppress(CniError):
        vm.settle()
    assert pairs_on(scene.port(first)) == []
    assert scene.reserves() == []
    assert vm.states() == []


def test_a_former_port_that_one_look_does_not_show_loses_its_pair_at_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    vm.add("c1")
    first, vm.port_id = vm.port_id, ""
    vm.delete("c1")
    faults = scene.neutron.faults
    faults.add(Fault("GET", f"/ports/{first}", status=404, times=1))
    faults.add(Fault("GET", "/ports$", status=200, body=NO_PORTS, skip=1, times=1))
    with pytest.raises(CniError, match="no port"):
        vm.settle_once()
    assert len(scene.reserves()) == 1, "its tag names the former port"
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert pairs_on(scene.port(first)) == []
    assert scene.reserves() == []
    assert vm.states() == []


def test_a_live_pods_pair_is_taken_off_a_former_port_that_one_look_does_not_show(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    real, seen = absence.read, list[str]()

    def read(neutron: Neutron, port_id: str) -> Port | None:
        """`move_pair` sees the port, `remove_pairs_elsewhere` does not."""
        seen.append(port_id)
        return None if seen.count(first) == 2 else real(neutron, port_id)

    with monkeypatch.context() as patch:
        patch.setattr(absence, "read", read)
        vm.settle_once()
    vm.settle()
    assert pairs_on(scene.port(first)) == []
    assert pairs_on(scene.port(vm.port_id)) == [str(address)]
    (reserved,) = scene.reserves()
    assert [tag for tag in reserved["tags"] if "parent" in tag] == [f"ncni-parent={vm.port_id}"]


def test_a_former_port_that_a_cache_shows_without_its_pair_loses_it_at_the_next_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make(scene, Mode.ADDRESS_PAIRS, monkeypatch)
    stale = json.dumps({"port": scene.port(vm.port_id)})
    vm.add("c1")
    first, vm.port_id = vm.port_id, ""
    vm.delete("c1")
    scene.neutron.faults.add(Fault("GET", f"/ports/{first}", status=200, body=stale, times=1))
    with pytest.raises(CniError, match="no port"):
        vm.settle_once()
    assert len(scene.reserves()) == 1, "its tag names the former port"
    with pytest.raises(CniError, match="no port"):
        vm.settle()
    assert pairs_on(scene.port(first)) == []
    assert scene.reserves() == []
    assert vm.states() == []

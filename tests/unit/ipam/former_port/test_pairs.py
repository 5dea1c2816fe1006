"""The same where pods' addresses are pairs of the VM's port: what becomes of the old port's."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from ipaddress import ip_address

import pytest

from neutron_cni.ipam import absence
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.store import State
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import Mode
from tests.fakes import Fault
from tests.reliability.scene import Scene, addresses_on, pairs_on
from tests.unit.ipam.former_port.vm import NO_PORTS, killed_before_its_update_arrives, make


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

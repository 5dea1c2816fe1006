"""A VM whose NIC has another Neutron port than before: its pods, and what the old one has."""

from __future__ import annotations

from contextlib import suppress

import pytest

from neutron_cni.ipam import service
from neutron_cni.ipam.audit.survey import survey
from neutron_cni.store import State, Store
from neutron_cni.values.errors import CniError
from tests.reliability.scene import Scene
from tests.unit.ipam.former_port.vm import Vm, killed_before_its_update_arrives


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


@pytest.mark.parametrize("guarded", [True, False], ids=["Neutron 29", "Neutron 21"])
def test_what_can_not_be_taken_off_the_old_port_says_why(
    vm: Vm, scene: Scene, guarded: bool
) -> None:
    scene.neutron.cloud.guards_floating_ips = guarded
    address = vm.add("c1")
    first, vm.port_id = vm.port_id, scene.new_port()
    pointing = {"port_id": first, "fixed_ip_address": str(address), "router_id": None}
    scene.neutron.cloud.add("floatingips", pointing)
    vm.delete("c1")
    vm.settle_once()
    with Store(vm.config.state_dir) as store:
        (why,) = survey(store, vm.host.conf_dir, offline=True).waits.values()
    assert "has been associated to a floating ip" in why
    assert address in vm.on(first)


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


def test_claims_that_another_tool_wiped_are_written_again(vm: Vm, scene: Scene) -> None:
    vm.add("c1")
    (tag,) = vm.tags(vm.port_id)
    scene.call("PUT", f"/ports/{vm.port_id}/tags", {"tags": ["theirs"]})
    vm.add("c2")
    assert tag in vm.tags(vm.port_id)
    assert "theirs" in vm.tags(vm.port_id)

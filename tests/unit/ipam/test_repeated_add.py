"""An ADD that a runtime repeats: the same lease, and Neutron has it again if somebody took it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit import mend
from neutron_cni.ipam.audit.survey import Action, work_to_do
from neutron_cni.ipam.modes import MODES
from neutron_cni.store import Record, State, Store
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from neutron_cni.values.lease import Lease
from tests.fakes import Fault
from tests.fakes.faults import FOREVER
from tests.reliability import invariants
from tests.reliability.scene import Host, Scene

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
MENDING = pytest.mark.parametrize("mode", [mode for mode in Mode if MODES[mode].mends])
RESERVING = pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])


class Node:
    """A node whose IPAM is this process; what it says to the operator is in `notes`."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.host = Host(scene, "node")
        self.notes: list[str] = []

    def config(self, mode: Mode) -> IpamConfig:
        return msgspec.convert(self.host.config(mode, quarantine=0), IpamConfig)

    def request(self, mode: Mode, container: str = "c1", seconds: float = 20.0) -> IpamRequest:
        return IpamRequest(
            "net",
            Attachment(container, "eth0", f"/run/netns/{container}"),
            self.config(mode),
            Deadline.after(seconds),
            note=self.notes.append,
        )

    def add(self, mode: Mode, container: str = "c1") -> Lease:
        return own_ipam().acquire(self.request(mode, container))

    def check(self, mode: Mode, container: str = "c1") -> list[str]:
        return own_ipam().verify(self.request(mode, container))

    def records(self) -> list[Record]:
        with Store(str(self.host.state_dir)) as store:
            return store.all()

    def is_reserved(self, lease: Lease) -> bool:
        return {item.address.ip for item in lease.addresses} <= invariants.reserved(
            self.scene, [self.host]
        )

    def take_away(self, mode: Mode) -> None:
        """Somebody removes from Neutron all that the node's pods have."""
        own = [{"ip_address": str(address)} for address in self.host.own]
        attributes = {"fixed_ips": own} if mode is Mode.FIXED_IPS else {"allowed_address_pairs": []}
        self.scene.call("PUT", f"/ports/{self.host.port_id}", {"port": attributes})
        for port in self.scene.reserves():
            self.scene.call("DELETE", f"/ports/{port['id']}")


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node in a cloud."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda config: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr(mend, "remove_stale_entries", lambda: None)
    with Scene(tmp_path / "scene") as scene:
        yield Node(scene)


@MENDING
def test_what_somebody_took_away_is_back_before_the_answer(one: Node, mode: Mode) -> None:
    first = one.add(mode)
    one.take_away(mode)
    assert not one.is_reserved(first)
    again = one.add(mode)
    assert again.addresses == first.addresses
    assert one.is_reserved(again)
    assert one.check(mode) == []
    (record,) = one.records()
    assert (record.state, record.lease, record.until) == (State.HELD, again, 0)


@ALL_MODES
def test_what_is_as_it_was_costs_no_change(one: Node, mode: Mode) -> None:
    first = one.add(mode)
    before = dict(one.scene.neutron.calls)
    assert one.add(mode) == first
    asked = {call for call, times in one.scene.neutron.calls.items() if times != before.get(call)}
    assert {call.split()[0] for call in asked} == {"GET"}
    assert one.notes == []


@ALL_MODES
@pytest.mark.parametrize("how", ["away", "500"])
def test_while_neutron_can_not_be_asked_the_answer_is_as_before(
    one: Node, mode: Mode, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neutron_cni.ipam.repeated.LOOK_SECONDS", 0.5)
    first = one.add(mode)
    if how == "away":
        one.scene.neutron.stop()
    else:
        one.scene.neutron.faults.add(Fault(status=500, times=FOREVER))
    assert one.add(mode) == first
    assert [note.partition(":")[0] for note in one.notes] == ["not compared with Neutron"]
    assert [record.state for record in one.records()] == [State.HELD]


@MENDING
def test_what_is_somebody_elses_now_is_said_and_the_next_add_gets_another(
    one: Node, mode: Mode
) -> None:
    (address,) = one.add(mode).addresses
    one.take_away(mode)
    other = one.scene.new_port(name="theirs", fixed_ips=[{"ip_address": str(address.address.ip)}])
    with pytest.raises(CniError) as caught:
        one.add(mode)
    assert caught.value.code == Code.CONFLICT
    assert f"{address.address.ip} belongs to port {other} (theirs)" in caught.value.message
    again = one.add(mode)
    assert again.addresses != (address,)
    assert one.is_reserved(again)


@MENDING
def test_what_a_port_has_that_we_can_not_see_stays_held_and_the_add_fails(
    one: Node, mode: Mode
) -> None:
    """Whether it is another's can't be told: a pod may be using it, and DEL comes."""
    (address,) = one.add(mode).addresses
    one.take_away(mode)
    other = one.scene.new_port(fixed_ips=[{"ip_address": str(address.address.ip)}])
    one.scene.neutron.cloud.hidden.add(other)
    with pytest.raises(CniError) as caught:
        one.add(mode)
    assert caught.value.code == Code.TRY_AGAIN
    assert "could not be put back" in caught.value.message
    assert [record.state for record in one.records()] == [State.HELD]


@RESERVING
def test_a_reserving_port_whose_address_somebody_changed_has_it_again(
    one: Node, mode: Mode
) -> None:
    first = one.add(mode)
    (port,) = one.scene.reserves()
    one.scene.call("PUT", f"/ports/{port['id']}", {"port": {"fixed_ips": []}})
    assert one.add(mode) == first
    assert one.is_reserved(first)
    assert [item["id"] for item in one.scene.reserves()] == [port["id"]]


@RESERVING
def test_no_second_port_is_made_for_one_that_a_bad_answer_hides(one: Node, mode: Mode) -> None:
    first = one.add(mode)
    (port,) = one.scene.reserves()
    one.scene.neutron.faults.add(
        Fault("GET", f"/ports/{port['id']}", status=404),
        Fault("GET", "/ports$", times=2, status=200, body='{"ports": []}'),
    )
    assert one.add(mode) == first
    assert [item["id"] for item in one.scene.reserves()] == [port["id"]]


@RESERVING
def test_a_pod_whose_port_is_lost_to_another_keeps_no_other_pod_from_its_address(
    one: Node, mode: Mode
) -> None:
    (address,) = one.add(mode).addresses
    one.take_away(mode)
    one.scene.new_port(fixed_ips=[{"ip_address": str(address.address.ip)}])
    assert one.is_reserved(one.add(mode, "c2"))


@MENDING
def test_gc_puts_it_back_too(one: Node, mode: Mode) -> None:
    first = one.add(mode)
    one.take_away(mode)
    with Store(str(one.host.state_dir)) as store:
        work = work_to_do(store, one.host.conf_dir, frozenset)
        steps = [(action, item.addresses) for action, item in work.steps]
        assert (Action.PUT_BACK, (first.addresses[0].address.ip,)) in steps
        assert mend.mend(store, one.host.conf_dir, work, frozenset) == []
    assert one.is_reserved(first)


def test_a_pod_whose_nic_was_taken_away_gets_another_by_the_next_add(one: Node) -> None:
    first = one.add(Mode.NOVA_INTERFACE)
    one.take_away(Mode.NOVA_INTERFACE)
    with pytest.raises(CniError, match="nothing gives it back") as caught:
        one.add(Mode.NOVA_INTERFACE)
    assert caught.value.code == Code.TRY_AGAIN
    second = one.add(Mode.NOVA_INTERFACE)
    assert one.is_reserved(second)
    assert second.port_id != first.port_id


def test_a_nic_that_one_look_does_not_show_stays_the_pods(one: Node) -> None:
    first = one.add(Mode.NOVA_INTERFACE)
    one.scene.neutron.faults.add(Fault("GET", "/ports", status=404))
    assert one.add(Mode.NOVA_INTERFACE) == first

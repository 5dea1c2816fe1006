"""Neutron fails at each step of an ADD and of what follows a DEL; the rest of the node goes on."""

from __future__ import annotations

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.fakes import Fault
from tests.fakes.faults import FOREVER, Drop
from tests.fakes.neutron import FIXED_IPS_CHANGED
from tests.reliability.life import QUARANTINE, Life
from tests.reliability.scene import addresses_on
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
STEPS = [
    ("POST", "/tags"),
    ("PUT", "/ports/"),
    ("POST", "/ports$"),
    ("DELETE", "/tags/"),
    ("DELETE", "/ports/"),
    ("GET", "/ports$"),
    ("GET", "/ports/"),
]
HOW: list[dict[str, object]] = [
    {"drop": Drop.BEFORE},
    {"drop": Drop.AFTER},
    {"status": 500},
    {"status": 403},
]


@ALL_MODES
@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how.values())))
def test_whatever_call_fails_nothing_is_left_of_it(
    new_life: LifeMaker, mode: Mode, how: dict[str, object]
) -> None:
    """Each kind of call once: of an ADD, or of giving back."""
    for number, (method, path) in enumerate(STEPS):
        life = new_life(mode)
        fault = Fault(method, path, skip=number % 2, **how)  # type: ignore[arg-type]
        life.scene.neutron.faults.add(fault)
        life.story.append(f"{fault}")
        life.add()
        life.add()
        for container in life.containers[:1]:
            life.delete(container)
        life.pass_time(QUARANTINE + 1)
        life.sweep()
        life.scene.neutron.faults.clear()
        assert life.end() == []


@ALL_MODES
def test_an_answer_to_a_change_that_is_lost_costs_no_add(new_life: LifeMaker, mode: Mode) -> None:
    """It was made: reading tells."""
    for method, path in STEPS[1:3]:
        life = new_life(mode)
        life.scene.neutron.faults.add(Fault(method, path, drop=Drop.AFTER))
        assert life.add().ok
        assert life.end() == []


@ALL_MODES
def test_neutron_goes_away_in_the_middle(new_life: LifeMaker, mode: Mode) -> None:
    for method, path in STEPS[:5]:
        life = new_life(mode)
        assert life.add().ok
        life.scene.neutron.faults.add(Fault(method, path, times=FOREVER, drop=Drop.BEFORE))
        life.add()
        assert life.delete(life.containers[0]).ok
        life.pass_time(QUARANTINE + 1)
        life.sweep()
        life.scene.neutron.faults.clear()
        assert life.add().ok
        assert life.end() == []


def hide(life: Life, number: int) -> None:
    """Ports of other projects, which ours can't see, have addresses of the subnet."""
    for address in life.scene.free()[:number]:
        port = life.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
        life.scene.neutron.cloud.hidden.add(port)


@ALL_MODES
def test_a_crowd_finds_the_free_addresses_of_a_subnet_that_others_use(
    new_life: LifeMaker, mode: Mode
) -> None:
    """An update that names one taken address is refused whole, and which it is can't be seen."""
    life = new_life(mode, "10.9.0.0/26")
    hide(life, 30)
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(10)))
    assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    assert life.end() == []


@pytest.mark.parametrize("guarded", [True, False], ids=["Neutron 29", "Neutron 21"])
def test_a_floating_ip_keeps_one_address_and_no_other(new_life: LifeMaker, guarded: bool) -> None:
    """It can't be taken off, or had better not; what was deleted with it goes, new pods come."""
    life = new_life()
    life.scene.neutron.cloud.guards_floating_ips = guarded
    for _ in range(6):
        assert life.add().ok
    (kept,) = life.live[life.host.name, life.containers[0]]
    pointing = floating_ip(life, str(kept))
    for container in life.containers:
        assert life.delete(container).ok
    life.pass_time(QUARANTINE + 1)
    life.sweep()
    assert set(addresses_on(life.scene.port(life.host.port_id))) == life.host.own | {kept}
    assert life.add().ok
    life.scene.neutron.cloud.tables["floatingips"].pop(pointing)
    assert life.end() == []


def test_every_floating_ip_of_a_port_keeps_its_address_for_one_call(new_life: LifeMaker) -> None:
    """Neutron 29 itself minds one only, and the others would point at the next pods."""
    life = new_life()
    for _ in range(6):
        assert life.add().ok
    kept = {life.live[life.host.name, container][0] for container in life.containers[:3]}
    pointing = [floating_ip(life, str(address)) for address in kept]
    for container in life.containers:
        assert life.delete(container).ok
    life.pass_time(QUARANTINE + 1)
    life.scene.neutron.calls.clear()
    life.sweep()
    assert set(addresses_on(life.scene.port(life.host.port_id))) == life.host.own | kept
    calls = life.scene.neutron.calls
    assert (calls["GET /floatingips"], calls[FIXED_IPS_CHANGED]) == (1, 1)
    for name in pointing:
        life.scene.neutron.cloud.tables["floatingips"].pop(name)
    assert life.end() == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_may_not_list_floating_ips_relies_on_neutrons_own_guard(
    new_life: LifeMaker, status: int
) -> None:
    life = new_life()
    for _ in range(3):
        assert life.add().ok
    life.scene.neutron.faults.add(Fault("GET", "/floatingips", status=status, times=FOREVER))
    for container in life.containers:
        assert life.delete(container).ok
    life.pass_time(QUARANTINE + 1)
    life.sweep()
    assert set(addresses_on(life.scene.port(life.host.port_id))) == life.host.own
    notes = own_ipam().status(msgspec.convert(life.config, IpamConfig), Deadline.after(20))
    assert any("can't be looked up" in note for note in notes) == (status != 404)
    assert life.end() == []


@pytest.mark.parametrize("how", [{"status": 500}, {"drop": Drop.BEFORE}], ids=str)
def test_who_comes_does_not_depend_on_a_list_for_who_went(
    new_life: LifeMaker, how: dict[str, object]
) -> None:
    """The addresses stay while Neutron fails to list floating IPs, and leave after that."""
    life = new_life()
    assert life.add().ok
    assert life.delete(life.containers[0]).ok
    life.pass_time(QUARANTINE + 1)
    fault = Fault("GET", "/floatingips", times=FOREVER, **how)  # type: ignore[arg-type]
    life.scene.neutron.faults.add(fault)
    assert life.add().ok
    life.scene.neutron.faults.clear()
    assert life.end() == []


def floating_ip(life: Life, address: str) -> str:
    """The id of a floating IP that points at an address of the VM's port."""
    cloud = life.scene.neutron.cloud
    attributes = {"port_id": life.host.port_id, "fixed_ip_address": address, "router_id": None}
    return str(cloud.add("floatingips", attributes)["id"])


def test_an_address_that_somebody_took_off_comes_back_with_the_next_call(
    new_life: LifeMaker,
) -> None:
    life = new_life()
    for _ in range(3):
        assert life.add().ok
    life.scene.call("PUT", f"/ports/{life.host.port_id}", {"port": {"fixed_ips": own(life)}})
    assert life.add().ok
    life.wrong = [item for item in life.wrong if "not reserved" not in item]
    for container in life.containers:
        assert life.check(container).differences == []
    assert life.end() == []


def test_an_address_that_now_is_anothers_fails_no_other_pod(new_life: LifeMaker) -> None:
    """Somebody took it off, and Neutron gave it away: it is lost, and CHECK says so."""
    life = new_life()
    assert life.add().ok
    (lost,) = life.live[life.host.name, "c1"]
    life.scene.call("PUT", f"/ports/{life.host.port_id}", {"port": {"fixed_ips": own(life)}})
    other = life.scene.new_port(fixed_ips=[{"ip_address": str(lost)}])
    for hidden in (False, True):
        if hidden:
            life.scene.neutron.cloud.hidden.add(other)
        outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(3)))
        assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    assert life.check("c1").differences
    life.delete("c1")
    life.wrong = [item for item in life.wrong if str(lost) not in item]
    life.resting.clear()
    assert life.end() == []


def own(life: Life) -> list[dict[str, str]]:
    """The VM's own addresses, for an update that drops all others."""
    return [{"ip_address": str(address)} for address in life.host.own]


@ALL_MODES
def test_a_storm_of_edits_ends_in_success_or_in_a_clear_error(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode)
    life.scene.neutron.faults.rival_every(2)
    assert life.add().ok
    life.scene.neutron.faults.rival_every(1)
    outcome = life.add()
    assert outcome.ok or outcome.code == Code.TRY_AGAIN
    life.scene.neutron.faults.clear()
    assert life.end() == []

"""Mode `nova-interface`: what Nova refuses, what a VM has room for, and what a DEL leaves to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.anchors import blocked_fact
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.audit.waiting import why_waiting
from neutron_cni.ipam.modes.nics import EXTRA_SPEC
from neutron_cni.ipam.service import _wish
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.store import State, Store, giving_back
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from neutron_cni.values.lease import Lease
from tests.fakes import Fault
from tests.fakes.api import Request
from tests.fakes.faults import FOREVER
from tests.reliability.scene import Host, Scene

ATTACH = ("POST", "/os-interface")
HYPERVISOR = (
    '{"computeFault": {"code": 500, "message": "Failed to attach network adapter device to x"}}'
)


class Site:
    """A VM in a fake cloud, whose IPAM is this process."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.host = Host(scene, "node")
        self.host.server.slow = False

    def request(self, container: str, **more: object) -> IpamRequest:
        config = msgspec.convert(self.host.config(Mode.NOVA_INTERFACE, **more), IpamConfig)
        attachment = Attachment(container, "eth0", f"/run/netns/{container}")
        return IpamRequest("net", attachment, config, Deadline.after(20))

    def add(self, container: str, **more: object) -> Lease:
        return own_ipam().acquire(self.request(container, **more))

    def refusal(self, container: str, **more: object) -> CniError:
        with pytest.raises(CniError) as caught:
            self.add(container, **more)
        return caught.value

    def delete(self, container: str) -> None:
        own_ipam().release(self.request(container))

    def queue(self, container: str) -> None:
        """A wish of another call, which lives and waits for the lock. Once for each container."""
        with Store(str(self.host.state_dir)) as store:
            store.want(_wish(self.request(container)))

    def sweep(self) -> None:
        with Store(str(self.host.state_dir)) as store:
            for anchor in {record.anchor for record in store.all()}:
                settle_anchor(store, anchor, Deadline.after(20))

    def nics(self) -> int:
        """The NICs of pods that are attached."""
        return sum(p["device_id"] == self.host.server.id for p in self.scene.reserves())

    def ports(self) -> int:
        return len(self.scene.reserves())

    def states(self) -> list[State]:
        with Store(str(self.host.state_dir)) as store:
            return [record.state for record in store.all()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr("neutron_cni.ipam.modes.nova_interface.DETACH_SECONDS", 1.0)
    with Scene(tmp_path / "scene") as scene:
        yield Site(scene)


def test_the_lease_names_the_nic_by_its_mac_and_the_port_is_this_servers(site: Site) -> None:
    lease = site.add("c1")
    port = site.scene.port(lease.port_id)
    assert (port["mac_address"], port["device_id"]) == (lease.nic_mac, site.host.server.id)


def test_options_are_the_ports(site: Site) -> None:
    lease = site.add("c1", vnicType="direct", portSecurity=False)
    port = site.scene.port(lease.port_id)
    assert port["binding:vnic_type"] == "direct"
    assert (port["port_security_enabled"], port["security_groups"]) == (False, [])


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        ({"vm_state": "error"}, Code.TRY_AGAIN, "while it is in vm_state error"),
        ({"task_state": "resize_prep"}, Code.TRY_AGAIN, "while it is in task_state"),
        ({"locked": True}, Code.CREDENTIALS, "is locked"),
    ],
    ids=["error", "resized", "locked"],
)
def test_a_state_that_refuses_is_said_and_leaves_nothing(
    site: Site, state: dict[str, object], code: int, words: str
) -> None:
    before = {key: getattr(site.host.server, key) for key in state}
    _set(site, state)
    error = site.refusal("c1")
    assert error.code == code
    assert words in error.message
    assert (site.ports(), site.states()) == (0, [])
    _set(site, before)
    site.add("c1")


def _set(site: Site, state: dict[str, object]) -> None:
    for key, value in state.items():
        setattr(site.host.server, key, value)


def test_a_locked_server_keeps_a_nic_until_it_is_unlocked(site: Site) -> None:
    site.add("c1")
    site.host.server.locked = True
    site.delete("c1")
    site.sweep()
    assert (site.nics(), site.states()) == (1, [State.RELEASED])
    with Store(str(site.host.state_dir)) as store:
        assert "is locked" in why_waiting(store, store.all()[0])
    site.host.server.locked = False
    site.sweep()
    assert site.ports() == 0


def test_a_port_is_deleted_only_when_no_server_has_it(site: Site) -> None:
    site.host.server.slow = True
    site.add("c1")
    site.delete("c1")
    site.sweep()
    assert site.ports() == 1
    site.scene.neutron.cloud.later.pop()()
    site.sweep()
    assert site.ports() == 0


def test_a_port_whose_server_is_gone_goes(site: Site) -> None:
    lease = site.add("c1")
    site.delete("c1")
    with site.scene.neutron.cloud.lock:
        site.scene.neutron.cloud.ports[lease.port_id]["device_id"] = "0" * 8 + "-0" * 4
    site.sweep()
    assert site.ports() == 0


def test_the_configured_limit_counts_what_the_vm_has_already(site: Site) -> None:
    site.add("c1", maxNICs=2)
    calls = dict(site.scene.neutron.calls)
    error = site.refusal("c2", maxNICs=2)
    assert error.code == Code.EXHAUSTED
    assert "has 2 NICs, its own included, and may have 2" in error.message
    made = {call for call, n in site.scene.neutron.calls.items() if n != calls.get(call)}
    assert all(call.startswith("GET") for call in made)


def test_the_flavor_tells_the_limit(site: Site) -> None:
    site.host.server.extra_specs[EXTRA_SPEC] = "1"
    assert site.refusal("c1").code == Code.EXHAUSTED


def test_a_limit_is_learnt_from_two_refusals_and_not_from_one(site: Site) -> None:
    for _ in range(2):
        site.scene.neutron.faults.add(Fault(*ATTACH, status=500, body=HYPERVISOR))
        assert "Failed to attach" in site.refusal("c1").message
        assert (site.ports(), site.states()) == (0, [])
    error = site.refusal("c1")
    assert error.code == Code.EXHAUSTED
    assert "may have 1" in error.message


def test_one_refusal_does_not_keep_the_next_pod_from_its_nic(site: Site) -> None:
    site.scene.neutron.faults.add(Fault(*ATTACH, status=500, body=HYPERVISOR))
    site.refusal("c1")
    site.add("c2")


def test_an_attach_that_was_done_without_an_answer_is_found(site: Site) -> None:
    site.scene.neutron.faults.add(Fault(*ATTACH, drop="after"))  # type: ignore[arg-type]
    site.add("c1")
    assert site.nics() == 1


def test_an_attach_of_which_nothing_is_known_is_watched(site: Site) -> None:
    site.scene.neutron.faults.add(Fault(*ATTACH, drop="before"))  # type: ignore[arg-type]
    site.refusal("c1")
    site.sweep()
    assert (site.ports(), site.states()) == (0, [State.RELEASED])


def test_a_pod_does_not_wait_for_nics_that_go(site: Site) -> None:
    site.host.server.slow = True
    site.add("c1")
    site.delete("c1")
    site.scene.neutron.calls.clear()
    site.add("c2")
    reads = sum(n for call, n in site.scene.neutron.calls.items() if call.startswith("GET /ports"))
    assert reads < 10


def test_a_port_that_another_server_has_got_is_left_to_it(site: Site) -> None:
    other = Host(site.scene, "other")

    def stolen() -> None:
        for port in site.scene.neutron.cloud.ports.values():
            if port["description"].startswith("neutron-cni: NIC"):
                port["device_id"] = other.server.id

    site.scene.neutron.before = lambda request: (
        stolen() if request.method == "POST" and "os-interface" in request.path else None
    )
    error = site.refusal("c1")
    site.scene.neutron.before = None
    assert error.code == Code.CONFLICT
    assert "did this VM get the disk" in error.details
    site.sweep()
    assert site.states() == [State.RELEASED]
    (port,) = site.scene.reserves()
    assert port["device_id"] == other.server.id
    site.scene.neutron.cloud.ports[port["id"]]["device_id"] = ""
    site.sweep()
    assert site.ports() == 0


def test_an_add_that_has_its_nic_does_not_wait_for_those_behind_it(site: Site) -> None:
    site.scene.neutron.before = lambda request: (
        site.queue("c2") if request.path == "/ports" else None
    )
    site.add("c1")
    site.scene.neutron.before = None
    assert (site.nics(), site.states()) == (1, [State.HELD, State.WANTED])
    site.add("c3")
    assert (site.nics(), site.states()) == (3, [State.HELD] * 3)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("DELETE", "/os-interface", status=500),
        Fault("POST", "/ports$", drop="before"),  # type: ignore[arg-type]
    ],
    ids=["a NIC that goes", "a port that comes"],
)
def test_what_befalls_one_lease_is_told_to_nobody_else(site: Site, fault: Fault) -> None:
    site.add("c1")
    site.delete("c1")
    site.scene.neutron.faults.add(fault)
    site.scene.neutron.before = lambda request: site.queue("c3") if "os-" in request.path else None
    with suppress(CniError):
        site.add("c2")
    site.scene.neutron.before = None
    assert site.states()[-1] is State.WANTED
    site.add("c3")


def test_a_port_that_can_not_be_read_after_an_attach_is_not_taken_for_one_that_is_free(
    site: Site,
) -> None:
    site.scene.neutron.faults.add(
        Fault(*ATTACH, drop="after"),  # type: ignore[arg-type]
        Fault("GET", "/ports/", skip=1, status=403),
    )
    site.refusal("c1")
    assert (site.ports(), site.nics(), site.states()) == (1, 1, [State.RELEASED])
    for _ in range(2):
        site.sweep()
    assert site.ports() == 0


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the store was lost"])
def test_a_nic_whose_ports_description_somebody_wrote_anew_is_given_back(
    site: Site, lost: bool
) -> None:
    lease = site.add("c1")
    site.scene.call("PUT", f"/ports/{lease.port_id}", {"port": {"description": "my database"}})
    if lost:
        site.host.lose_store()
        site.add("c2", quarantine=0)
    site.delete("c1")
    for _ in range(2):
        site.sweep()
    found = [port["id"] for port in site.scene.call("GET", "/ports")["ports"]]
    assert lease.port_id not in found


def test_of_two_ports_of_a_lease_none_is_deleted_while_a_server_has_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_back, "ABSENCE_SECONDS", 0.0)
    lease = site.add("c1")
    first = site.scene.port(lease.port_id)
    marked = {key: first[key] for key in ("description", "device_owner", "device_id")}
    second = site.scene.new_port(**marked)
    deleted_attached = []

    def watch(request: Request) -> None:
        if request.method == "DELETE" and request.path.startswith("/ports/"):
            port = site.scene.port(request.path.rpartition("/")[2])
            deleted_attached.extend([port["id"]] if port["device_id"] else [])

    site.scene.neutron.before = watch
    site.delete("c1")
    for _ in range(4):
        site.sweep()
    site.scene.neutron.before = None
    found = [port["id"] for port in site.scene.call("GET", "/ports")["ports"]]
    assert (second in found, lease.port_id in found, deleted_attached) == (False, False, [])


def test_pods_that_come_one_after_another_ask_once_for_a_nic_to_go(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neutron_cni.ipam.modes.nova_interface.AGAIN_SECONDS", 60.0)
    site.host.server.slow = True
    site.add("c1")
    site.delete("c1")
    site.scene.neutron.calls.clear()
    for container in ("c2", "c3", "c4"):
        site.add(container)
    calls = site.scene.neutron.calls
    assert sum(n for call, n in calls.items() if call.startswith("DELETE")) == 1, calls


def test_why_a_nic_is_still_there_is_said_until_it_has_gone(site: Site) -> None:
    site.host.server.detach_fails = True
    site.add("c1")
    site.delete("c1")
    site.sweep()
    with Store(str(site.host.state_dir)) as store:
        (record,) = store.all()
        said = why_waiting(store, record)
    assert f"openstack server event show {site.host.server.id} req-" in said
    site.host.server.detach_fails = False
    site.sweep()
    with Store(str(site.host.state_dir)) as store:
        assert site.host.server.id not in why_waiting(store, record)


def test_a_pod_at_the_limit_waits_for_a_nic_that_goes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neutron_cni.ipam.modes.nics.LOOK_SECONDS", 0.05)
    site.host.server.slow = True
    site.add("c1", maxNICs=2)
    site.delete("c1")
    site.add("c2", maxNICs=2)
    assert site.nics() == 1


def test_a_pod_at_the_limit_does_not_wait_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neutron_cni.ipam.modes.nics.ROOM_SECONDS", 1.0)
    site.host.server.detach_fails = True
    site.add("c1", maxNICs=2)
    site.delete("c1")
    assert site.refusal("c2", maxNICs=2).code == Code.EXHAUSTED


def test_why_neutron_keeps_the_port_of_a_nic_that_has_gone_is_said_until_it_goes(
    site: Site,
) -> None:
    lease = site.add("c1")
    site.delete("c1")
    site.scene.neutron.faults.add(Fault("DELETE", "/ports/", status=403, times=FOREVER))
    site.sweep()
    assert (site.nics(), site.states()) == (0, [State.RELEASED])
    with Store(str(site.host.state_dir)) as store:
        (record,) = store.all()
        assert f"deleting port {lease.port_id}" in why_waiting(store, record)
    site.scene.neutron.faults.clear()
    site.sweep()
    with Store(str(site.host.state_dir)) as store:
        assert site.ports() == 0
        assert store.fact(blocked_fact(record.anchor, record.addresses[0].address)) is None

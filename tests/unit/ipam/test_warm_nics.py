"""NICs that are attached for pods to come: handed out without the cloud, replaced, given back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, sweeper
from neutron_cni.ipam.modes.warm_nics import ATTACH_SECONDS
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.store import State, Store, giving_back, schema
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from tests.fakes import Fault
from tests.reliability.scene import Scene
from tests.unit.ipam.test_nova_interface import Site

WARM: dict[str, Any] = {"warmNICs": 2, "quarantine": 0}


class Node:
    """What the node's kernel shows of NICs: all that the VM has, as new, unless told otherwise."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.hidden: set[str] = set()
        self.altered: set[str] = set()

    def waiting(self) -> dict[str, bool]:
        server = self._site.host.server.id
        ports = [p for p in self._site.scene.reserves() if p["device_id"] == server]
        macs = {port["mac_address"] for port in ports} - self.hidden
        return {mac: mac not in self.altered for mac in macs}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    monkeypatch.setattr("neutron_cni.ipam.modes.nova_interface.DETACH_SECONDS", 1.0)
    monkeypatch.setattr(giving_back, "ABSENCE_SECONDS", 0.0)
    with Scene(tmp_path / "scene") as scene:
        yield Site(scene)


@pytest.fixture
def nics(site: Site, monkeypatch: pytest.MonkeyPatch) -> Node:
    found = Node(site)
    monkeypatch.setattr(node, "waiting_nics", found.waiting)
    return found


def sweep(site: Site, rounds: int = 1, seconds: float = 120.0) -> None:
    """As the sweeper does: while something is due."""
    for _ in range(rounds):
        with Store(str(site.host.state_dir)) as store:
            for anchor in store.due(time.time()):
                settle_anchor(store, anchor, Deadline.after(seconds))


def ready(site: Site) -> int:
    return site.states().count(State.READY)


def calls_of(site: Site, **more: Any) -> list[str]:
    """What an ADD asks of the cloud."""
    before = dict(site.scene.neutron.calls)
    site.add(f"c{len(site.states())}-{time.time_ns()}", **{**WARM, **more})
    return [call for call, n in site.scene.neutron.calls.items() if n != before.get(call)]


def filled(site: Site, **more: Any) -> Lease:
    """After the first pod of a network as many are ready as it wants."""
    lease = site.add("first", **{**WARM, **more})
    sweep(site)
    assert ready(site) == 2
    return lease


def test_after_the_first_pod_so_many_are_attached_as_are_wanted(site: Site, nics: Node) -> None:
    filled(site)
    assert site.nics() == 3
    with Store(str(site.host.state_dir)) as store:
        assert store.due(time.time()) == {}


def test_a_nic_that_is_ready_is_handed_out_without_asking_the_cloud_and_replaced(
    site: Site, nics: Node
) -> None:
    filled(site)
    assert calls_of(site) == []
    assert ready(site) == 1
    sweep(site)
    assert (ready(site), site.nics()) == (2, 4)


def test_with_little_time_left_none_is_begun_and_the_next_sweep_goes_on(
    site: Site, nics: Node
) -> None:
    site.add("first", **WARM)
    sweep(site, seconds=ATTACH_SECONDS - 1)
    assert (ready(site), site.ports()) == (0, 1)
    sweep(site)
    assert ready(site) == 2


def test_no_two_pods_get_one(site: Site, nics: Node) -> None:
    filled(site)
    leases = [site.add(f"c{number}", **WARM) for number in range(4)]
    assert len({lease.nic_mac for lease in leases}) == 4
    assert len({lease.addresses for lease in leases}) == 4


def test_a_repeated_add_has_the_same(site: Site, nics: Node) -> None:
    filled(site)
    assert site.add("c1", **WARM) == site.add("c1", **WARM)


def test_a_pod_that_was_handed_a_nic_gives_it_back_as_any_other(site: Site, nics: Node) -> None:
    filled(site)
    lease = site.add("c1", **WARM)
    sweep(site)
    site.delete("c1")
    sweep(site, 3)
    assert lease.port_id not in {port["id"] for port in site.scene.reserves()}
    assert (ready(site), site.nics()) == (2, 3)


def test_the_port_says_whose_nic_it_is_after_it_changed_hands(site: Site, nics: Node) -> None:
    filled(site)
    lease = site.add("c1", **WARM)
    with Store(str(site.host.state_dir)) as store:
        token = site.request("c1").attachment.token("net")
        assert token in {record.token for record in store.all()}
    sweep(site)
    tags = site.scene.port(lease.port_id)["tags"]
    assert [tag for tag in tags if tag.startswith("ncni-token=")] == [f"ncni-token={token}"]


@pytest.mark.parametrize(
    "more",
    [{"portSecurity": False}, {"securityGroups": ["web"]}, {"vnicType": "direct"}],
    ids=str,
)
def test_a_pod_whose_nic_must_be_another_gets_a_new_one(
    site: Site, nics: Node, more: dict[str, Any]
) -> None:
    site.scene.call("POST", "/security-groups", {"security_group": {"name": "web"}})
    filled(site)
    assert calls_of(site, **more)
    sweep(site, 3)
    assert (ready(site), site.nics()) == (2, 4)


def test_an_address_that_is_asked_for_is_not_another_one(site: Site, nics: Node) -> None:
    from dataclasses import replace
    from ipaddress import ip_address

    filled(site)
    wanted = ip_address("10.9.0.60")
    request = replace(site.request("c1", **WARM), requested=(wanted,))
    lease = own_ipam().acquire(request)
    assert [item.address.ip for item in lease.addresses] == [wanted]


def test_one_that_is_not_on_the_node_yet_is_not_handed_out(site: Site, nics: Node) -> None:
    filled(site)
    nics.hidden = set(nics.waiting())
    assert calls_of(site)


def test_fewer_are_kept_when_the_configuration_says_so(site: Site, nics: Node) -> None:
    filled(site)
    site.add("c1", **{**WARM, "warmNICs": 0})
    sweep(site, 3)
    assert (ready(site), site.nics()) == (0, 2)


def test_gc_tells_the_configuration_too(site: Site, nics: Node) -> None:
    filled(site)
    request = site.request("first", quarantine=0)
    own_ipam().collect("net", request.config, [request.attachment], Deadline.after(20))
    sweep(site, 3)
    assert (ready(site), site.nics()) == (0, 1)


def test_one_that_somebody_detached_is_replaced(site: Site, nics: Node) -> None:
    filled(site)
    waiting = [p for p in site.scene.reserves() if "warm-" in str(p["tags"])]
    site.scene.neutron.cloud.ports[waiting[0]["id"]]["device_id"] = ""
    site.add("c1", **WARM)
    sweep(site, 3)
    assert ready(site) == 2
    assert waiting[0]["id"] not in {port["id"] for port in site.scene.reserves()}


def test_one_that_the_node_uses_for_something_else_is_replaced(
    site: Site, nics: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(site)
    used = nics.hidden = set(nics.waiting())
    site.add("c1", **WARM)
    sweep(site)
    assert ready(site) == 2
    monkeypatch.setattr("neutron_cni.ipam.modes.warm_nics.APPEARS_SECONDS", 0.0)
    site.add("c2", **WARM)
    sweep(site, 3)
    assert ready(site) == 2
    assert not used & {port["mac_address"] for port in site.scene.reserves()} - {
        site.add("first", **WARM).nic_mac
    }


def test_a_nic_that_came_home_as_new_waits_for_another_pod_after_its_rest(
    site: Site, nics: Node
) -> None:
    more = {**WARM, "quarantine": 60}
    filled(site, **more)
    lease = site.add("c1", **more)
    site.delete("c1")
    sweep(site)
    assert (ready(site), site.nics()) == (2, 3)
    assert lease.port_id in {port["id"] for port in site.scene.reserves()}
    others = [site.add("c2", **more), site.add("c3", **more)]
    assert lease.nic_mac not in {other.nic_mac for other in others}
    with closing(sqlite3.connect(site.host.store_file)) as database, database:
        database.execute("UPDATE lease SET until = until - 60 WHERE state = 'ready'")
    assert site.add("c4", **more) == lease


def test_what_a_pod_left_on_a_nic_no_other_pod_gets(site: Site, nics: Node) -> None:
    filled(site)
    lease = site.add("c1", **WARM)
    nics.altered = {lease.nic_mac}
    site.delete("c1")
    sweep(site, 3)
    assert ready(site) == 2
    assert lease.port_id not in {port["id"] for port in site.scene.reserves()}


def test_a_vm_that_is_full_says_so_once_and_has_room_for_a_pod_all_the_same(
    site: Site, nics: Node
) -> None:
    limit = {**WARM, "maxNICs": 3}
    site.add("c1", **limit)
    with pytest.raises(CniError) as caught:
        sweep(site)
    assert caught.value.code == Code.EXHAUSTED
    assert ready(site) == 1
    with Store(str(site.host.state_dir)) as store:
        assert store.due(time.time()) == {}
    assert calls_of(site, **limit) == []


def test_one_that_is_ready_makes_way_for_a_pod_that_needs_another(site: Site, nics: Node) -> None:
    limit = {**WARM, "maxNICs": 4}
    site.add("c1", **limit)
    sweep(site)
    site.add("c2", **limit, portSecurity=False)
    assert (ready(site), site.nics()) == (1, 3)


def test_while_the_cloud_is_away_pods_get_what_is_ready(site: Site, nics: Node) -> None:
    filled(site)
    site.scene.neutron.faults.add(Fault(".*", "", times=1000, status=503))
    site.add("c1", **WARM)
    site.add("c2", **WARM)
    with pytest.raises(CniError):
        sweep(site)
    site.scene.neutron.faults.clear()
    sweep(site)
    assert ready(site) == 2


def test_a_reboot_keeps_them(site: Site, nics: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(site)
    monkeypatch.setattr("neutron_cni.store.store.boot_id", lambda: "another boot")
    assert calls_of(site) == []


def test_a_store_of_the_version_before_keeps_its_leases(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.db"
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for number, script in enumerate(schema.MIGRATIONS[:2], start=1):
            database.executescript(f"{script};PRAGMA user_version={number}")
        database.execute(f"PRAGMA application_id={0x6E634E00 + 2}")
        database.execute(
            "INSERT INTO lease (nonce, token, network, container_id, ifname, netns, netns_inode,"
            " pod_namespace, pod_name, pod_uid, mode, anchor, state, config, wish, owner, created,"
            " changed) VALUES ('n', 't', 'net', 'c', 'eth0', '', 0, '', '', '', 'port', 'a',"
            """ 'held', '{"type": "x", "mode": "port"}', '[]', '', 1, 1)"""
        )
        database.execute("INSERT INTO address VALUES (1, '10.0.0.5', 'subnet', 'port')")
    path.chmod(0o600)
    with Store(str(path.parent)) as store:
        (record,) = store.all()
        assert [str(item.address) for item in record.addresses] == ["10.0.0.5"]
        store.forget([record.id])
        assert store.entries() == []

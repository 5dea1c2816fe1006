"""Several networks of one node: a pod's port and lease follow its own network's configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_interface
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import locate, node, service, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.netlink.facts import Uplink
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.store import Record, State, Store
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig, Mode, PortLookup
from tests.fakes.api import Request
from tests.reliability.scene import Host, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cloud."""
    with Scene(tmp_path / "scene") as made:
        yield made


@pytest.fixture
def host(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A node whose IPAM runs in this process; no namespace of it has any address."""
    monkeypatch.setattr(sweeper, "start_sweeper", lambda state_dir: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    return Host(scene, "node")


def config(host: Host, mode: Mode, **more: Any) -> IpamConfig:
    return msgspec.convert(host.config(mode, **more), IpamConfig)


def request(network: str, container: str, config: IpamConfig, seconds: float = 20) -> IpamRequest:
    attachment = Attachment(container, "eth0", f"/run/netns/{container}")
    return IpamRequest(network, attachment, config, Deadline.after(seconds))


def wait_together(*requests: IpamRequest) -> list[Record]:
    """Requests that wait in their queues, oldest first, and are then served by one process."""
    with Store(requests[0].config.state_dir) as store:
        waiting = [store.want(service._wish(item)) for item in requests]
        for anchor in dict.fromkeys(record.anchor for record in waiting):
            settle_anchor(store, anchor, Deadline.after(20))
        return [found for record in waiting if (found := store.get(record.id)) is not None]


def tags_by_token(scene: Scene) -> dict[str, set[str]]:
    found = {}
    for port in scene.reserves():
        values = dict(tag.split("=") for tag in port["tags"] if "=" in tag)
        found[values["ncni-token"]] = set(port["tags"])
    return found


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
def test_a_reserving_port_is_tagged_as_its_own_network_says(
    scene: Scene, host: Host, mode: Mode
) -> None:
    """Two networks on one NIC have one queue in mode `address-pairs`."""
    a = config(host, mode, cluster="a", node="node-a")
    b = config(host, mode, cluster="b", node="node-b")
    one, two = wait_together(request("a", "c1", a), request("b", "c2", b))
    assert (one.state, two.state) == (State.HELD, State.HELD)
    tags = tags_by_token(scene)
    assert {"ncni-cluster=a", "ncni-node=node-a"} <= tags[one.token]
    assert {"ncni-cluster=b", "ncni-node=node-b"} <= tags[two.token]


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.ADDRESS_PAIRS])
def test_a_lost_store_finds_the_ports_of_every_network(
    scene: Scene, host: Host, mode: Mode
) -> None:
    """They are tagged with the node's name, of which each network may have its own."""
    configs = [config(host, mode, node=f"node-{name}", quarantine=3600) for name in "ab"]
    wait_together(*(request(f"n{i}", f"c{i}", item) for i, item in enumerate(configs)))
    with Store(str(host.state_dir)) as store:
        install = store.fact("install")
    host.lose_store()
    with Store(str(host.state_dir)) as store:
        # It would be made of the first name that comes, and so might be another's.
        store.remember("install", install)
    wait_together(*(request(f"n{i}", f"d{i}", item) for i, item in enumerate(configs)))
    with Store(str(host.state_dir)) as store:
        states = sorted(record.state for record in store.all())
    assert states == [State.COOLING, State.COOLING, State.HELD, State.HELD]


@pytest.mark.parametrize("mode", [Mode.FIXED_IPS, Mode.ADDRESS_PAIRS])
def test_a_lost_lease_comes_back_with_the_nic_whose_port_carries_it(host: Host, mode: Mode) -> None:
    """A VM may have several: the node answers and routes by that one."""
    plain = config(host, mode, quarantine=3600)
    (before,) = wait_together(request("n", "c1", plain))
    assert before.lease is not None
    assert before.lease.nic_mac
    host.lose_store()
    wait_together(request("n", "c2", plain))
    with Store(plain.state_dir) as store:
        (after,) = (record for record in store.all() if record.addresses == before.addresses)
    assert after.lease is not None
    assert after.lease.nic_mac == before.lease.nic_mac


def test_a_pod_gets_the_network_that_its_own_configuration_names(scene: Scene, host: Host) -> None:
    """Of the same attachment, whose former lease, from another network, still rests."""
    other = scene.call("POST", "/networks", {"network": {"name": "other"}})["network"]["id"]
    subnet = {"network_id": other, "cidr": "10.8.0.0/26", "ip_version": 4, "name": "other"}
    scene.call("POST", "/subnets", {"subnet": subnet})
    before = config(host, Mode.PORT, quarantine=3600)
    after = msgspec.structs.replace(before, network=other)
    (first,) = wait_together(request("n", "c1", before))
    with Store(before.state_dir) as store:
        store.release(first.id, 3600)
    (second,) = wait_together(request("n", "c1", after))
    assert str(second.addresses[0].address).startswith("10.8.0.")


def test_one_cloud_name_in_two_files_means_two_remembered_ports(
    scene: Scene, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(f"{request.method} {request.path}")

    with Scene(tmp_path / "another") as other:
        configs = [
            IpamConfig(
                type="cni-ipam-neutron",
                cloud="fake",
                clouds_file=str(each.clouds_file),
                state_dir=str(host.state_dir),
                port_lookup=PortLookup.ADDRESS,
            )
            for each in (scene, other)
        ]
        ports = [host.port_id, other.new_port()]
        nics = [nic_of(scene, host.port_id), nic_of(other, ports[1])]
        monkeypatch.setattr(locate, "_mac_of", lambda link: link)
        with Store(str(host.state_dir)) as store:

            def find(number: int) -> str:
                chosen = configs[number]
                made = Neutron.connect("fake", chosen.clouds_file, Deadline.after(20))
                with closing(made) as neutron:
                    return locate.vm_port(chosen, store, neutron, lambda name: nics[number]).id

            assert [find(0), find(1)] == ports
            scene.neutron.before = note
            assert find(0) == ports[0]
    assert asked == [f"GET /ports/{ports[0]}"], "it is remembered, and only looked at"


def nic_of(scene: Scene, port_id: str) -> Uplink:
    """The NIC with that port; its name is its MAC."""
    port = scene.port(port_id)
    address = ip_interface(f"{port['fixed_ips'][0]['ip_address']}/26")
    return Uplink(name=port["mac_address"], mac=port["mac_address"], mtu=1500, addresses=(address,))


def test_of_two_adds_of_one_container_the_first_to_fail_leaves_the_lease_to_the_other(
    host: Host,
) -> None:
    """In one process, as when a burst is served: a runtime asked again before it was answered."""
    chosen = config(host, Mode.FIXED_IPS)
    outcomes: dict[str, object] = {}

    def add(name: str, seconds: float) -> None:
        try:
            outcomes[name] = own_ipam().acquire(request("n", "c1", chosen, seconds))
        except CniError as error:
            outcomes[name] = error

    with anchor_lock(chosen.state_dir, service._wish(request("n", "c1", chosen)).anchor) as lock:
        assert lock.try_acquire()
        first = Thread(target=add, args=("first", 0.5))
        first.start()
        time.sleep(0.2)
        second = Thread(target=add, args=("second", 20.0))
        second.start()
        first.join()
    second.join()
    assert isinstance(outcomes["first"], CniError)
    assert not isinstance(outcomes["second"], CniError), outcomes["second"]

"""A VM whose NIC gets another Neutron port than before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import locate, node, service, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.settling import settle_anchor
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.store import State, Store
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.scene import Host, Scene, addresses_on

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


def make(scene: Scene, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> Vm:
    made = Vm(scene, mode)
    monkeypatch.setattr(locate, "vm_port", made.port)
    monkeypatch.setattr(sweeper, "start_sweeper", lambda config: None)
    monkeypatch.setattr(node, "namespace_with", lambda address: "")
    return made


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

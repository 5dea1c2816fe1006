"""All calls of Neutron and Nova, and clouds that answer them badly."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.openstack.errors import CloudError
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.openstack.types import AddressPair, FixedIp, Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes import FakeNeutron, Fault
from tests.fakes.faults import FOREVER
from tests.support.openstack_doubles import no_auth

ID = "00000000-0000-4000-8000-000000000001"
NET = "00000000-0000-4000-8000-000000000002"
SUBNET = "00000000-0000-4000-8000-000000000003"
PORT: dict[str, Any] = {
    "id": ID,
    "network_id": NET,
    "mac_address": "fa:16:3e:00:00:01",
    "revision_number": 1,
    "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.0.0.5"}],
    "allowed_address_pairs": [],
    "tags": [],
}
KNOWN = Port.from_json(PORT)
ADDRESS = ip_address("10.0.0.6")
NOVA_READS: dict[str, Callable[[Neutron], object]] = {
    "server": lambda n: Nova.beside(n).server(ID),
    "interfaces": lambda n: Nova.beside(n).interfaces(ID),
    "outcome": lambda n: Nova.beside(n).outcome(ID, "req-1"),
}
NOVA_CHANGES: dict[str, Callable[[Neutron], object]] = {
    "attach": lambda n: Nova.beside(n).attach(ID, ID),
    "detach": lambda n: Nova.beside(n).detach(ID, ID),
}
READS: dict[str, Callable[[Neutron], object]] = {
    "port": lambda n: n.port(ID),
    "ports": lambda n: n.ports(),
    "addresses_in_use": lambda n: n.addresses_in_use(NET),
    "network": lambda n: n.network("net"),
    "subnet": lambda n: n.subnet("sub"),
    "subnets": lambda n: n.subnets(NET),
    "security_group_id": lambda n: n.security_group_id("group"),
    "port_quota": lambda n: n.port_quota("5" * 32),
    "project_id": lambda n: n.project_id(),
    **NOVA_READS,
}
CHANGES: dict[str, Callable[[Neutron], object]] = {
    "create_port": lambda n: n.create_port({"network_id": NET}, []),
    "set_fixed_ips": lambda n: n.set_fixed_ips(KNOWN, [FixedIp(SUBNET, ADDRESS)]),
    "set_address_pairs": lambda n: n.set_address_pairs(KNOWN, [AddressPair("10.0.0.6")]),
    "delete_port": lambda n: n.delete_port(ID),
    "add_tags": lambda n: n.add_tags(ID, ["a"]),
    "remove_tag": lambda n: n.remove_tag(ID, "a"),
    **NOVA_CHANGES,
}
CALLS = READS | CHANGES


def asked_by(name: str) -> str:
    """The service that the call of that name is of."""
    return "Nova" if name in NOVA_READS | NOVA_CHANGES else "Neutron"


def answering(fake: FakeNeutron, body: object, status: int = 200) -> None:
    """From now on whatever is asked is answered so, but for the extensions."""
    fake.faults.clear()
    text = body if isinstance(body, str) else json.dumps(body)
    fake.faults.add(Fault(path="^(?!/extensions)", status=status, body=text, times=FOREVER))


def refused(call: Callable[[Neutron], object], neutron: Neutron) -> CloudError:
    with pytest.raises(CniError) as caught:
        call(neutron)
    assert caught.value.code == Code.TRY_AGAIN
    assert isinstance(caught.value, CloudError)
    return caught.value


def code_of(call: Callable[[], object]) -> int:
    """The error's code, 0 for none; whatever is no CniError is raised."""
    try:
        call()
    except CniError as error:
        return error.code
    return 0


def calls_of(folder: Path, url: str, seconds: float) -> list[Callable[[], object]]:
    """Reads and changes of the cloud at that address, within so many seconds."""
    file = no_auth(folder, url)
    return [
        lambda: Neutron.connect("fake", file, Deadline.after(seconds)).port(ID),
        lambda: Neutron.connect("fake", file, Deadline.after(seconds)).delete_port(ID),
        lambda: Nova.connect("fake", file, Deadline.after(seconds)).attach(ID, ID),
    ]

"""What our client of Nova is promised, kept by the fake cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.values.deadline import Deadline
from tests.contract.nics import Faults, Nics, Site
from tests.fakes import FakeNeutron, Fault
from tests.fakes.api import Request, answer
from tests.fakes.faults import Drop
from tests.fakes.nova import FakeServer, NovaRefusal, new_server


class TestNics(Nics): ...


class TestFaults(Faults): ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeNeutron() as fake:
        file = str(fake.write_clouds_yaml(tmp_path))
        neutron = Neutron.connect("fake", file, Deadline.after(60))
        server = new_server(fake.cloud)
        failure = NovaRefusal(500, f"Failed to attach network adapter device to {server.id}")
        failed = Fault("POST", "/os-interface$", status=500, body=json.dumps(failure.body()))
        yield Site(
            neutron,
            Nova.beside(neutron),
            server.id,
            _network(fake),
            "contract",
            state_refuses=partial(_in_error, server),
            attach_fails=partial(_faulty, fake, failed),
            attach_unanswered=partial(_faulty, fake, Fault("POST", drop=Drop.AFTER)),
            detach_fails=partial(_keeping, server),
        )
        neutron.close()


def _network(fake: FakeNeutron) -> str:
    """Id of a network with a subnet."""
    network = _made(fake, "networks", "network", {})
    _made(fake, "subnets", "subnet", {"network_id": network, "cidr": "10.9.0.0/24"})
    return network


def _made(fake: FakeNeutron, collection: str, member: str, attributes: dict[str, str]) -> str:
    reply = answer(fake.cloud, Request("POST", f"/{collection}", {}, {member: attributes}))[1]
    assert reply is not None
    return str(reply[member]["id"])


@contextmanager
def _in_error(server: FakeServer) -> Iterator[None]:
    server.vm_state = "error"
    yield
    server.vm_state = "active"


@contextmanager
def _faulty(fake: FakeNeutron, fault: Fault) -> Iterator[None]:
    fake.faults.add(fault)
    yield
    fake.faults.clear()


@contextmanager
def _keeping(server: FakeServer) -> Iterator[None]:
    server.detach_fails = True
    yield
    server.detach_fails = False

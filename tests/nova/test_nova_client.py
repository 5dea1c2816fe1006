"""What our client of Nova is promised, kept by the lab's Nova."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from neutron_cni.ipam.server import this_server
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.values.deadline import Deadline
from neutron_cni_lab import Lab, Node
from neutron_cni_lab.nova.faults import Faults as Orders
from tests.contract.nics import Faults, Nics, Site
from tests.nova.conftest import MARK
from tests.nova.servers import Port as NewPort
from tests.support.openstack_doubles import clouds_yaml

LONG = 300.0
"""More seconds than a call waits: until the order is taken back."""


class TestNics(Nics): ...


class TestFaults(Faults): ...


@pytest.fixture
def neutron(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neutron]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url, nova = lab.facts["api_url"], lab.facts["nova_url"]
    cloud = (
        f"{{auth_type: none, auth: {{endpoint: '{url}'}}, network_endpoint_override: '{url}', "
        f"compute_endpoint_override: '{nova}'}}"
    )
    file = clouds_yaml(tmp_path, f"clouds: {{lab: {cloud}}}\n")
    with closing(Neutron.connect("lab", file, Deadline.after(600))) as neutron:
        yield neutron


@pytest.fixture
def site(
    lab: Lab, shared: Node, new_port: Callable[[], NewPort], neutron: Neutron
) -> Iterator[Site]:
    """The ports are gone after the test as those of `new_port` are, by their description."""
    server = shared.server_id
    site = Site(
        neutron,
        Nova.beside(neutron),
        server,
        lab.facts["networks"]["tenant"],
        MARK,
        state_refuses=partial(lab.servers.refusing, server),
        attach_fails=partial(lab.nova.ordered, Orders(attach_fails=True)),
        attach_unanswered=partial(lab.nova.ordered, Orders(attach_seconds=LONG)),
        detach_fails=partial(lab.nova.ordered, Orders(detach_fails=True)),
    )
    yield site
    for port_id in site.attached() - {shared.port_id}:
        site.ended(site.nova.detach(server, port_id))


def test_a_node_is_the_server_that_has_its_port(neutron: Neutron, shared: Node) -> None:
    port = neutron.port(shared.port_id)
    nowhere = "http://127.0.0.1:1"
    assert this_server(port, nowhere, Deadline.after(60)) == shared.server_id

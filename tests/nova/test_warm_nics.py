"""`warmNICs` with a real Nova: NICs that wait for pods, handed out, kept, and given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.nova.servers import links
from tests.nova.test_nova_interface import (
    PATIENCE,
    PLUGIN,
    network_of,
    nics_in_neutron,
    pod,
)
from tests.openstack.modes import settled
from tests.openstack.plugin import call
from tests.openstack.state import leases, wait_for

Network = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def swept(lab: Lab, nodes: dict[str, Node]) -> Iterator[None]:
    """Nodes without pods of these tests, and nothing of theirs in Neutron, before and after."""
    with settled(lab, *(lab.node(node.name) for node in nodes.values())):
        yield
    assert nics_in_neutron(lab) == []


@contextmanager
def reserve(lab: Lab, name: str, **ipam: Any) -> Iterator[dict[str, Any]]:
    """A network with NICs in reserve, for as long as a block runs. `name`: the node's."""
    network = network_of(lab, quarantine=0, **ipam)
    try:
        yield network
    finally:
        without = network_of(lab, quarantine=0)
        assert call(lab.node(name), "GC", document=without, plugin=PLUGIN).status == 0
        wait_for(lambda: nics_in_neutron(lab) == [], "the NICs in reserve to go", PATIENCE)


def ready(lab: Lab, node: Node) -> set[str]:
    """The addresses of the NICs that wait for a pod."""
    rows = [row for row in leases(lab, node) if row["state"] == "ready"]
    return {address for row in rows for address in row["addresses"]}


def address_of(result: dict[str, Any]) -> str:
    return str(result["ips"][0]["address"]).partition("/")[0]


def test_a_pod_gets_a_nic_that_waits_while_nova_is_stopped(lab: Lab, vm: Node) -> None:
    node = vm
    with reserve(lab, node.name, warmNICs=2) as network, pod(node, "one", network):
        wait_for(lambda: len(ready(lab, node)) == 2, "two NICs to be ready", PATIENCE)
        waiting = ready(lab, node)
        lab.nova.stop()
        try:
            with pod(node, "two", network) as (two, result):
                assert address_of(result) in waiting
                assert result["interfaces"][0]["mac"] in links(node, two.name)
                two.pod.exec(["ping", "-c1", "-w30", str(result["ips"][0]["gateway"])])
                lab.nova.start()
                wait_for(lambda: len(ready(lab, node)) == 2, "another to be ready", PATIENCE)
                assert two.call("CHECK", {"prevResult": result}).status == 0
        finally:
            lab.nova.start()


def test_a_nic_whose_pod_is_gone_is_another_pods(lab: Lab, shared: Node) -> None:
    """The VM has no room for a second one, so this one is kept."""
    node, own = shared, len(links(shared))
    with reserve(lab, node.name, warmNICs=1, maxNICs=own + 1) as network:
        with pod(node, "one", network) as (_, first):
            pass
        wait_for(lambda: bool(ready(lab, node)), "the NIC to be ready again", PATIENCE)
        with pod(node, "two", network) as (two, second):
            assert second["interfaces"][0]["mac"] == first["interfaces"][0]["mac"]
            two.pod.exec(["ping", "-c1", "-w30", str(second["ips"][0]["gateway"])])


def test_nics_that_wait_are_there_after_a_reboot(lab: Lab, shared: Node) -> None:
    node = shared
    with reserve(lab, node.name, warmNICs=1) as network:
        with pod(node, "one", network):
            wait_for(lambda: len(ready(lab, node)) == 1, "a NIC to be ready", PATIENCE)
        waiting = ready(lab, node)
        again = lab.reboot_node(node.name)
        with pod(again, "two", network) as (two, result):
            assert {address_of(result)} == waiting
            two.pod.exec(["ping", "-c1", "-w30", str(result["ips"][0]["gateway"])])

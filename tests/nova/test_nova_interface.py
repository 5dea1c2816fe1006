"""host-device-plus with `nova-interface`: each pod has a NIC that Nova attached, and none stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from neutron_cni.values.errors import Code
from neutron_cni_lab import Lab, Node
from neutron_cni_lab.nova.faults import Faults
from tests.nova.servers import links
from tests.openstack.modes import Container, settled
from tests.openstack.plugin import NETWORK, call, config
from tests.openstack.state import leases, wait_for

PLUGIN = "host-device-plus"
SHORT = 12.0
"""Seconds that a call has which is not to succeed."""
PATIENCE = 180.0
"""Seconds after which what should come has not."""


@pytest.fixture
def network(lab: Lab) -> dict[str, Any]:
    """The configuration: a NIC on the network `tenant`, with the lab's security group."""
    return network_of(lab)


def network_of(lab: Lab, **ipam: Any) -> dict[str, Any]:
    section = {"network": "tenant", "securityGroups": [lab.facts["security_group_id"]], **ipam}
    return config("1.1.0", plugin=PLUGIN, mode="nova-interface", **section)


@pytest.fixture(autouse=True, scope="module")
def swept(lab: Lab, nodes: dict[str, Node]) -> Iterator[None]:
    """Nodes without pods of these tests, and nothing of theirs in Neutron, before and after."""
    with settled(lab, *(lab.node(node.name) for node in nodes.values())):
        yield
    assert nics_in_neutron(lab) == []


@pytest.fixture(autouse=True)
def let_go(lab: Lab) -> Iterator[None]:
    """Nova has taken back all that a test had when the next one begins."""
    yield
    wait_for(lambda: nics_in_neutron(lab) == [], "all ports of NICs to go", PATIENCE)


def nics_in_neutron(lab: Lab) -> list[str]:
    """The names of all ports that were made for NICs of pods."""
    ports = lab.connection().network.ports(tags="neutron-cni")
    return [port.name for port in ports if port.description.startswith("neutron-cni: NIC")]


def port_of(lab: Lab, address: str) -> Any:
    """The port with that address."""
    (port,) = lab.connection().network.ports(fixed_ips=f"ip_address={address}")
    return port


def gone(lab: Lab, node: Node, nics: set[str]) -> bool:
    """Whether the node has those NICs only, and Neutron no port for a pod's."""
    return set(links(node)) == nics and nics_in_neutron(lab) == []


@contextmanager
def pod(
    node: Node, name: str, document: dict[str, Any]
) -> Iterator[tuple[Container, dict[str, Any]]]:
    """A pod with its NIC, for as long as a block runs."""
    made = Container(node, name, document, PLUGIN)
    try:
        yield made, made.add()
    finally:
        made.delete()


def test_a_pod_has_a_nic_and_a_port_of_its_own_until_it_goes(
    lab: Lab, node: Node, network: dict[str, Any]
) -> None:
    before = set(links(node))
    with pod(node, "one", network) as (one, result):
        address = str(result["ips"][0]["address"]).partition("/")[0]
        port = port_of(lab, address)
        assert port.device_id == node.server_id
        assert result["interfaces"][0]["mac"] == port.mac_address
        inside = links(node, one.name)
        assert [link["ifname"] for link in inside.values()] == ["eth0"]
        assert port.mac_address in inside
        one.pod.exec(["ping", "-c", "1", "-W", "2", str(result["ips"][0]["gateway"])])
        other = lab.node("node2")
        other.exec(["ping", "-c", "1", "-W", "2", address])
        assert one.call("CHECK", {"prevResult": result}).status == 0
        assert one.add() == result
    wait_for(lambda: gone(lab, node, before), "the NIC to go", PATIENCE)


def test_pods_that_come_at_once_each_get_a_nic(
    lab: Lab, node: Node, network: dict[str, Any]
) -> None:
    before = set(links(node))
    pods = [Container(node, f"p{number}", network, PLUGIN) for number in range(4)]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(Container.add, pods))
        macs = {result["interfaces"][0]["mac"] for result in results}
        assert len(macs) == len(pods)
        list(pool.map(Container.delete, pods))
    wait_for(lambda: gone(lab, node, before), "the NICs to go", PATIENCE)


def test_what_the_hypervisor_refuses_is_said_and_leaves_nothing(
    lab: Lab, shared: Node, network: dict[str, Any]
) -> None:
    before = set(links(shared))
    made = Container(shared, "one", network, PLUGIN)
    with lab.nova.ordered(Faults(attach_fails=True)):
        said = made.call("ADD").refusal(Code.TRY_AGAIN)
    assert "Failed to attach" in said
    wait_for(lambda: gone(lab, shared, before), "the port to go", PATIENCE)


def test_an_attach_whose_answer_is_lost_is_found(
    lab: Lab, shared: Node, network: dict[str, Any]
) -> None:
    with lab.nova.ordered(Faults(attach_answer_lost=True)), pod(shared, "one", network) as made:
        assert made[1]["interfaces"][0]["mac"] in links(shared, made[0].name)


def test_a_nic_that_never_appears_fails_in_time_and_goes(lab: Lab, vm: Node) -> None:
    before = set(links(vm))
    made = Container(vm, "one", network_of(lab, timeout=SHORT), PLUGIN)
    with lab.nova.ordered(Faults(nic_missing=True)):
        said = made.call("ADD").refusal(Code.TRY_AGAIN)
    assert "has no NIC with the MAC" in said
    wait_for(lambda: gone(lab, vm, before), "the port to go", PATIENCE)


def test_a_nic_that_the_hypervisor_keeps_goes_when_it_lets_it(
    lab: Lab, shared: Node, network: dict[str, Any]
) -> None:
    before = set(links(shared))
    with lab.nova.ordered(Faults(detach_fails=True)):
        with pod(shared, "one", network):
            pass
        assert len(nics_in_neutron(lab)) == 1
    wait_for(lambda: gone(lab, shared, before), "the NIC to go", PATIENCE)


def test_del_needs_no_nova_and_the_nic_goes_when_it_is_back(
    lab: Lab, shared: Node, network: dict[str, Any]
) -> None:
    before = set(links(shared))
    with pod(shared, "one", network):
        lab.nova.stop()
    try:
        late = Container(shared, "late", network_of(lab, timeout=SHORT), PLUGIN)
        assert shared.server_id in late.call("ADD").refusal(Code.TRY_AGAIN)
    finally:
        lab.nova.start()
    wait_for(lambda: gone(lab, shared, before), "the NIC to go", PATIENCE)


def test_a_namespace_that_died_first_costs_no_nic(
    lab: Lab, node: Node, network: dict[str, Any]
) -> None:
    """A physical NIC, as a VM's is, falls back to the node by its name in the pod."""
    before = set(links(node))
    made = Container(node, "one", network, PLUGIN)
    made.add()
    node.exec(["ip", "netns", "del", made.name])
    made.delete()
    wait_for(lambda: gone(lab, node, before), "the NIC to go", PATIENCE)


def test_nics_of_pods_that_a_reboot_ended_go(lab: Lab, node: Node, network: dict[str, Any]) -> None:
    before = set(links(node))
    Container(node, "one", network, PLUGIN).add()
    again = lab.reboot_node(node.name)
    document = {**network, "cni.dev/valid-attachments": []}
    assert call(again, "GC", document=document, plugin=PLUGIN).status == 0
    wait_for(lambda: gone(lab, again, before), "the NIC to go", PATIENCE)


def test_a_vm_with_all_its_nics_says_so_before_nova_is_asked(lab: Lab, shared: Node) -> None:
    full = network_of(lab, maxNICs=2)
    with pod(shared, "one", full):
        second = Container(shared, "two", full, PLUGIN)
        assert "has 2 NICs, its own included, and may have 2" in second.call("ADD").refusal(
            Code.EXHAUSTED
        )
        status = second.call("STATUS")
        assert status.status == 0
        assert "may have 2" in status.stderr


def test_the_ports_own_security_group_filters(
    lab: Lab, shared: Node, own_group: Callable[..., str]
) -> None:
    closed = own_group()
    with pod(shared, "one", network_of(lab, securityGroups=[closed])) as (_, result):
        address = str(result["ips"][0]["address"]).partition("/")[0]
        ping = ["ping", "-c", "1", "-W", "1", address]
        other = lab.node("node2")
        assert other.exec(ping, check=False).returncode == 1
        own_group(protocol="icmp")
        wait_for(lambda: other.exec(ping, check=False).returncode == 0, "the ping to pass", 60)


@pytest.fixture
def own_group(lab: Lab) -> Iterator[Callable[..., str]]:
    """Makes a security group that lets nothing in, the first time; then adds a rule to it."""
    calls = lab.connection().network
    name = "neutron-cni nova test"
    for left in calls.security_groups(name=name):
        calls.delete_security_group(left)
    made = calls.create_security_group(name=name)

    def more(**rule: Any) -> str:
        if rule:
            calls.create_security_group_rule(
                security_group_id=made.id, direction="ingress", ether_type="IPv4", **rule
            )
        return str(made.id)

    yield more
    wait_for(lambda: nics_in_neutron(lab) == [], "the port with the group to go", PATIENCE)
    calls.delete_security_group(made)


def test_the_network_named_in_leases_is_the_pods(
    lab: Lab, shared: Node, network: dict[str, Any]
) -> None:
    with pod(shared, "one", network):
        rows = [row for row in leases(lab, shared) if row["network"] == NETWORK]
        assert [row["mode"] for row in rows if row["state"] == "held"] == ["nova-interface"]

"""Mode `address-pairs` on ML2/OVN: the reserving port is a virtual port, and traffic passes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.modes import (
    LONG,
    Container,
    addresses,
    bound_to,
    containers,
    end_rests,
    forget_looks,
    fresh_nodes,
    port_binding,
    reserving,
    settled,
    undone,
)
from tests.openstack.plugin import Answer, call, config
from tests.openstack.state import leases, wait_for

PAIRS = config("1.1.0", mode="address-pairs")
GATEWAY = "10.10.0.1"
UNUSED = "10.10.15.252"
"""An address of the pods' subnet that is on no port."""


@pytest.fixture(autouse=True, scope="module")
def clean(lab: Lab, node1: Node, node2: Node) -> Iterator[None]:
    """node1 and node2 as they were found."""
    with settled(lab, node1, node2):
        yield


@pytest.fixture(scope="module")
def pods(clean: None, node1: Node, node2: Node) -> Iterator[tuple[Container, Container]]:
    """One on each node, for the tests that change neither."""
    with containers(node1, "one", PAIRS) as (one,), containers(node2, "two", PAIRS) as (two,):
        yield one, two


def pairs(lab: Lab, node: Node) -> list[dict[str, str]]:
    """The allowed address pairs of the node's port."""
    found: list[dict[str, str]] = lab.connection().network.get_port(node.port_id)[
        "allowed_address_pairs"
    ]
    return found


def answered(source: traffic.Place, target: str) -> bool:
    return traffic.ping(source, target).answered == 3


@pytest.mark.driver("ovn")
def test_the_reserving_port_stays_unbound_and_ovn_binds_it_to_the_parent(
    lab: Lab, pods: tuple[Container, Container]
) -> None:
    for pod in pods:
        port = reserving(lab, pod)
        assert (port.binding_vif_type, port.binding_host_id) == ("unbound", "")
        assert [fixed["ip_address"] for fixed in port.fixed_ips] == [pod.pod.address]
        binding = bound_to(lab, port.id, pod.node.port_id)
        assert binding["type"] == "virtual"
        assert binding["chassis"] == port_binding(lab, pod.node.port_id)["chassis"] != ""


def test_the_pair_is_the_pods_address_with_the_nics_mac(
    lab: Lab, pods: tuple[Container, Container]
) -> None:
    pod = pods[0]
    assert pairs(lab, pod.node) == [
        {"ip_address": pod.pod.address, "mac_address": pod.node.facts["mac"]}
    ]


def test_pods_reach_router_internet_and_each_other(
    lab: Lab, pods: tuple[Container, Container]
) -> None:
    one, two = (container.pod for container in pods)
    assert answered(one, GATEWAY)
    assert answered(one, lab.facts["far_address"])
    assert answered(one, two.address)
    assert answered(two, one.address)
    assert answered(two.node, one.address)


def test_only_the_pods_address_gets_past_port_security(
    pods: tuple[Container, Container], node1: Node, node2: Node
) -> None:
    address = pods[0].pod.address
    seen = traffic.forge(node1, node2.address, [UNUSED, address], leaving=node1, arriving=node2)
    assert (seen.left[UNUSED], seen.left[address]) == (3, 3)
    assert (seen.arrived[UNUSED], seen.arrived[address]) == (0, 3)


@contextlib.contextmanager
def paused(lab: Lab, part: str) -> Iterator[None]:
    """A daemon of the switch does nothing meanwhile."""
    pid = lab.switch.pid(part)
    assert pid is not None
    with undone("kill", "-CONT", str(pid)):
        os.kill(pid, signal.SIGSTOP)
        yield


@pytest.mark.driver("ovn")
def test_a_pod_whose_announcement_ovn_missed_is_found_by_its_first_answer(
    lab: Lab, node1: Node
) -> None:
    # ovn-northd stands for a large cloud, where it lags behind Neutron by seconds.
    container = Container(node1, "missed", PAIRS)
    try:
        with paused(lab, "ovn-northd"):
            container.add()
        port = reserving(lab, container)
        assert port_binding(lab, port.id)["virtual_parent"] == ""

        assert traffic.ping(container.pod, GATEWAY, count=5).answered > 0
        assert port_binding(lab, port.id)["virtual_parent"] == node1.port_id
        assert answered(container.pod, lab.facts["far_address"])
    finally:
        container.delete()


ANNOUNCE = """
from ipaddress import ip_address
from neutron_cni.netlink.announce import send
send("eth0", {mac!r}, [ip_address({address!r})], router=False)
"""


@pytest.mark.driver("ovn")
def test_without_announcement_and_proxy_entry_ovn_does_not_find_the_pod(
    lab: Lab, node1: Node
) -> None:
    # Upstream's ptp neither announces the address nor answers ARP for it.
    container = Container(node1, "ptp", {**PAIRS, "cniVersion": "1.0.0"}, plugin="ptp")
    try:
        (address,) = addresses(container.add())
        port = reserving(lab, container)
        assert not traffic.ping(container.pod, lab.facts["far_address"]).answered
        assert port_binding(lab, port.id)["virtual_parent"] == ""

        node1.exec(["python", "-c", ANNOUNCE.format(mac=node1.facts["mac"], address=address)])
        assert traffic.ping(container.pod, lab.facts["far_address"], count=5).answered
        assert port_binding(lab, port.id)["virtual_parent"] == node1.port_id
    finally:
        container.delete()


def test_after_del_the_address_rests_and_then_port_security_drops_it(
    lab: Lab, node1: Node, node2: Node
) -> None:
    document = config("1.1.0", mode="address-pairs", quarantine=LONG)
    with containers(node1, "rests", document) as (container,):
        port, address = reserving(lab, container), container.pod.address
    assert address in {pair["ip_address"] for pair in pairs(lab, node1)}
    assert lab.connection().network.find_port(port.id) is not None

    end_rests(lab, node1)
    wait_for(
        lambda: address not in {pair["ip_address"] for pair in pairs(lab, node1)},
        "the pair to be taken off",
    )
    wait_for(
        lambda: lab.connection().network.find_port(port.id) is None, "the reserving port to go"
    )
    sent = [address, node1.address]

    # Neutron shows it gone as soon as its database says so, and tells OVN or the agent after that.
    def arrived() -> dict[str, int]:
        seen = traffic.forge(node1, node2.address, sent, leaving=node1, arriving=node2)
        assert seen.left == dict.fromkeys(sent, 3)
        return seen.arrived

    wait_for(lambda: arrived() == {node1.address: 3}, "port security to drop it")


@pytest.fixture(scope="module")
def lone(lab: Lab) -> Iterator[Node]:
    """A node that no other test has pods on."""
    with fresh_nodes(lab, "mlone") as (node,):
        yield node


@pytest.fixture
def operators_pairs(lab: Lab, lone: Node) -> Iterator[list[str]]:
    """Pairs on the port that an operator made: with one pod, as many as Neutron permits."""
    made = ["10.99.0.0/24", *(f"10.98.0.{number}" for number in range(8))]
    body = [{"ip_address": item} for item in made]
    network = lab.connection().network
    network.update_port(lone.port_id, allowed_address_pairs=body)
    yield made
    network.update_port(lone.port_id, allowed_address_pairs=[])


def status(lab: Lab, node: Node) -> Answer:
    """Of what is there now."""
    forget_looks(lab, node)
    document = config("1.1.0", mode="address-pairs", capacityInStatus=True, statusPatience=0)
    return call(node, "STATUS", document=document, IFNAME="")


def test_the_limit_of_pairs_is_named_with_how_to_raise_it(
    lab: Lab, lone: Node, operators_pairs: list[str]
) -> None:
    with containers(lone, "last", PAIRS) as (last,):
        extra = Container(lone, "extra", PAIRS)
        refused = extra.call("ADD").json
        assert refused["code"] == 102
        assert "10 allowed address pairs" in refused["msg"]
        assert "limit is 10" in refused["msg"]
        assert "max_allowed_address_pair" in refused["details"]
        # Nothing is left of the refused one: no lease, no reserving port, no pair.
        assert [row["container_id"] for row in leases(lab, lone)] == [last.name]
        (port,) = lab.connection().network.ports(tags="ncni-node=mlone")
        assert port.id == reserving(lab, last).id

        unavailable = status(lab, lone).json
        assert unavailable["code"] == 50
        assert "10 of 10 allowed address pairs" in unavailable["msg"]
        assert "max_allowed_address_pair" in unavailable["details"]

        last.delete()
        wait_for(lambda: len(pairs(lab, lone)) == 9, "the pair to be taken off")
        assert status(lab, lone).status == 0
        extra.add()
        address = extra.pod.address
        assert {pair["ip_address"] for pair in pairs(lab, lone)} == {*operators_pairs, address}
        extra.delete()
        wait_for(lambda: len(pairs(lab, lone)) == 9, "the pair to be taken off")
    assert {pair["ip_address"] for pair in pairs(lab, lone)} == set(operators_pairs)


def test_a_pair_that_an_operator_overwrote_comes_back_once_there_is_room(
    lab: Lab, lone: Node
) -> None:
    network = lab.connection().network
    with containers(lone, "robbed", PAIRS) as (robbed,):
        theirs = [{"ip_address": f"10.98.0.{number}"} for number in range(10)]
        network.update_port(lone.port_id, allowed_address_pairs=theirs)
        late = Container(lone, "late", PAIRS)
        assert late.call("ADD").json["code"] == 102
        checked = robbed.call("CHECK", {"prevResult": robbed.call("ADD").json}).json
        assert (checked["code"], robbed.pod.address in checked["msg"]) == (104, True)

        network.update_port(lone.port_id, allowed_address_pairs=theirs[:8])
        late.add()
        ours = {robbed.pod.address, late.pod.address}
        assert {pair["ip_address"] for pair in pairs(lab, lone)} >= ours
        late.delete()
    # Not while the sweeper takes ours off: of two changes that overlap Neutron takes both.
    wait_for(lambda: not leases(lab, lone), "the pods' pairs to be given back")
    network.update_port(lone.port_id, allowed_address_pairs=[])


def test_without_port_security_the_refusal_says_what_to_do(lab: Lab, lone: Node) -> None:
    # Or the sweeper is at work on the pairs of earlier pods meanwhile.
    wait_for(lambda: not leases(lab, lone), "earlier pods' pairs to be given back")
    network = lab.connection().network
    group = lab.facts["security_group_id"]
    network.update_port(lone.port_id, security_group_ids=[], port_security_enabled=False)
    try:
        answers = [Container(lone, "open", PAIRS).call("ADD").json, status(lab, lone).json]
        assert [answer["code"] for answer in answers] == [7, 50], answers
        for answer in answers:
            assert "port security is off" in answer["msg"]
            assert "fixed-ips" in answer["details"]
        assert not list(network.ports(tags="ncni-node=mlone"))
    finally:
        network.update_port(lone.port_id, port_security_enabled=True, security_group_ids=[group])

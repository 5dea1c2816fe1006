"""Mode `port`: nodes beside the cloud, whose NIC is on a network that Neutron manages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from neutron_cni_lab.switch import INTERNET_ADDRESS
from tests.openstack.modes import (
    LONG,
    MARK,
    Container,
    containers,
    end_rests,
    fresh_nodes,
    port_binding,
    reserving,
)
from tests.openstack.plugin import config
from tests.openstack.state import leases, wait_for


def network(**ipam: Any) -> dict[str, Any]:
    """A network of veth-route pods with a Neutron port each."""
    return config("1.1.0", mode="port", network="external", **ipam)


class Nodes(NamedTuple):
    """Two beside the cloud, and a VM with its port on the same network."""

    one: Node
    two: Node
    vm: Node


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> Iterator[Nodes]:
    with (
        fresh_nodes(lab, "mbare1", "mbare2", kind="bare") as (one, two),
        fresh_nodes(lab, "mext", network="external") as (vm,),
    ):
        yield Nodes(one, two, vm)


@pytest.fixture(scope="module")
def pods(nodes: Nodes) -> Iterator[tuple[Container, Container]]:
    """One on each node beside the cloud, for the tests that change neither."""
    with (
        containers(nodes.one, "one", network()) as one,
        containers(nodes.two, "two", network()) as two,
    ):
        yield one[0], two[0]


@pytest.fixture(scope="module")
def floating_ip(lab: Lab, node1: Node) -> Iterator[str]:
    """A floating IP that leads to node1, a VM behind the router."""
    ips = lab.connection().network
    external = lab.facts["networks"]["external"]
    for leftover in ips.ips(description=MARK):
        ips.delete_ip(leftover)
    # Named, as its port may still carry addresses of earlier tests' pods, which rest.
    made = ips.create_ip(
        floating_network_id=external,
        port_id=node1.port_id,
        fixed_ip_address=node1.address,
        description=MARK,
    )
    address = str(made.floating_ip_address)
    # An L3 agent has it later than Neutron answers.
    wait_for(lambda: answered(lab.node("internet"), address), "the floating IP to be in force")
    yield address
    ips.delete_ip(made)


def answered(source: traffic.Place, target: str) -> bool:
    return traffic.ping(source, target).answered == 3


def test_pods_reach_the_internet_and_each_other_across_nodes(
    lab: Lab, pods: tuple[Container, Container]
) -> None:
    one, two = (container.pod for container in pods)
    assert answered(one, INTERNET_ADDRESS)
    assert answered(one, lab.facts["far_address"])
    assert answered(one, two.address)
    assert answered(lab.node("internet"), one.address)
    assert answered(two.node, one.address)


def test_the_node_answers_arp_for_its_pods(
    lab: Lab, nodes: Nodes, pods: tuple[Container, Container]
) -> None:
    internet = lab.node("internet")
    traffic.ping(internet, pods[0].pod.address)
    seen = internet.exec(["ip", "neigh", "show", pods[0].pod.address]).stdout
    own = nodes.one.exec(["cat", "/sys/class/net/eth0/address"]).stdout
    assert own.strip() in seen


def test_vms_behind_a_router_reach_the_pod_and_it_reaches_their_floating_ips(
    node1: Node, pods: tuple[Container, Container], floating_ip: str
) -> None:
    pod = pods[0].pod
    assert answered(node1, pod.address)
    assert answered(pod, floating_ip)
    seen = traffic.transfer(pod, node1, floating_ip)
    assert (seen.source, seen.target, seen.intact) == (pod.address, node1.address, True)


def test_vms_on_the_same_network_and_the_pod_reach_each_other(
    nodes: Nodes, pods: tuple[Container, Container]
) -> None:
    pod = pods[0].pod
    assert answered(nodes.vm, pod.address)
    assert answered(pod, nodes.vm.address)


def test_the_port_says_whose_it_is_and_binds_nothing(lab: Lab, nodes: Nodes) -> None:
    arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=1234-abc"
    container = Container(nodes.one, "named", network(cluster="blue"))
    try:
        container.add(ARGS=arguments)
        port = reserving(lab, container)
        assert port.name == "pod-shop-cart"
        assert {"neutron-cni", "ncni-node=mbare1", "ncni-cluster=blue", "ncni-pod=1234-abc"} < set(
            port.tags
        )
        assert "shop/cart" in port.description
        assert [fixed["ip_address"] for fixed in port.fixed_ips] == [container.pod.address]
        assert (port.binding_host_id, port.binding_vif_type) == ("", "unbound")
        # What keeps OVN from speaking for the pod with the port's MAC.
        assert (port.is_admin_state_up, port.binding_vnic_type) == (False, "baremetal")
        if lab.facts["driver"] == "ovn":
            assert port_binding(lab, port.id)["type"] == "external"
    finally:
        container.delete()


def test_after_del_nobody_answers_and_after_its_rest_the_port_is_gone(
    lab: Lab, nodes: Nodes
) -> None:
    with containers(nodes.one, "goes", network(quarantine=LONG)) as (container,):
        port, address = reserving(lab, container), container.pod.address
        assert answered(lab.node("internet"), address)
    assert not traffic.ping(lab.node("internet"), address).answered
    ports = lab.connection().network
    assert ports.find_port(port.id) is not None
    end_rests(lab, nodes.one)
    wait_for(lambda: ports.find_port(port.id) is None, "the port to go")


@pytest.fixture
def groups(lab: Lab, nodes: Nodes) -> Iterator[str]:
    """The name of a security group for pods: only its members reach the VM."""
    calls = lab.connection().network
    with ExitStack() as stack:
        for name in ("m-guarded", "m-pods"):
            for leftover in calls.security_groups(name=name):
                calls.delete_security_group(leftover)
        made = {}
        for name in ("m-pods", "m-guarded"):
            made[name] = calls.create_security_group(name=name, description=MARK)
            stack.callback(calls.delete_security_group, made[name])
        calls.create_security_group_rule(
            security_group_id=made["m-guarded"].id,
            direction="ingress",
            ether_type="IPv4",
            remote_group_id=made["m-pods"].id,
        )
        normal = [lab.facts["security_group_id"]]
        calls.update_port(nodes.vm.port_id, security_group_ids=[made["m-guarded"].id])
        stack.callback(calls.update_port, nodes.vm.port_id, security_group_ids=normal)
        yield "m-pods"
        wait_for(lambda: not members(lab, made["m-pods"].id), "the pods' ports to go")


def members(lab: Lab, group: str) -> list[str]:
    """The reserving ports of a security group: it can't go before them."""
    ports = lab.connection().network.ports(device_owner="neutron-cni:pod")
    return [port.id for port in ports if group in port.security_group_ids]


def test_security_groups_of_the_pods_port_let_it_past_others_port_security(
    lab: Lab, nodes: Nodes, groups: str
) -> None:
    with containers(nodes.one, "member", network(securityGroups=[groups])) as (member,):
        group = lab.connection().network.find_security_group(groups)
        assert reserving(lab, member).security_group_ids == [group.id]
        wait_for(lambda: answered(member.pod, nodes.vm.address), "the group to be let past")
    with containers(nodes.one, "other", network()) as (other,):
        assert not traffic.ping(other.pod, nodes.vm.address).answered


def test_a_security_group_that_does_not_exist_is_named(lab: Lab, nodes: Nodes) -> None:
    container = Container(nodes.one, "nogroup", network(securityGroups=["nosuch"]))
    error = container.call("ADD").json
    assert (error["code"], "security group nosuch" in error["msg"]) == (107, True)
    assert container.name not in [row["container_id"] for row in leases(lab, nodes.one)]

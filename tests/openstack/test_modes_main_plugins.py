"""`cni-ipam-neutron` under upstream's main plugins: what their pods get, and what passes.

docs/how-to/upstream-main-plugins.md says the same in words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod, traffic
from neutron_cni_lab.switch import INTERNET_ADDRESS
from tests.openstack.modes import MARK, PREFIX, answer_for_pods, fresh_nodes, remove_network
from tests.openstack.plugin import NETWORK, call, config
from tests.openstack.state import leases, wait_until_settled
from tests.unavailable import needs, possible

NO_IPVLAN = "failed to create ipvlan: operation not supported"
"""What upstream's ipvlan says on a kernel without such links."""


class Nodes(NamedTuple):
    """Two VMs on a network of their own, whose second subnet is for pods only."""

    one: Node
    two: Node


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> Iterator[Nodes]:
    calls = lab.connection().network
    for name in ("mup1", "mup2"):
        lab.remove_node(name)
    remove_network(lab, "m-up")
    made = calls.create_network(name="m-up", description=MARK)
    common = {"network_id": made.id, "ip_version": 4, "is_dhcp_enabled": False}
    first = calls.create_subnet(
        name="m-nodes",
        cidr="10.70.0.0/24",
        dns_nameservers=["10.70.0.53", "10.70.0.54"],
        host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.70.0.254"}],
        **common,
    )
    try:
        calls.add_interface_to_router(lab.facts["router_id"], subnet=first.id)
        with fresh_nodes(lab, "mup1", "mup2", network="m-up") as (one, two):
            second = calls.create_subnet(name="m-pods", cidr="10.71.0.0/24", **common)
            calls.add_interface_to_router(lab.facts["router_id"], subnet=second.id)
            if lab.driver.name == "ovs":
                for node in (one, two):
                    answer_for_pods(node)
            yield Nodes(one, two)
    finally:
        remove_network(lab, "m-up")


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[Nodes]:
    with fresh_nodes(lab, "mflat1", "mflat2", kind="bare") as (one, two):
        yield Nodes(one, two)


@pytest.fixture
def attached(lab: Lab) -> Iterator[Attach]:
    """Makes pods through `cnitool`; they are gone after the test."""
    with ExitStack() as stack:
        yield Attach(lab, stack)


class Attach:
    """`attached(node, plugin)`: a pod of that node and the result of its ADD."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab = lab
        self._stack = stack

    def __call__(self, node: Node, plugin: dict[str, Any], **ipam: Any) -> tuple[Pod, Any]:
        folder = "/run/neutron-cni-modes"
        section = config(**ipam)["ipam"]
        conflist = {
            "cniVersion": "1.0.0",
            "name": NETWORK,
            "plugins": [{**plugin, "ipam": section}],
        }
        write = f"mkdir -p {folder} && cat > {folder}/network.conflist"
        node.exec(["sh", "-c", write], input=json.dumps(conflist))
        pod = Pod(node, f"{PREFIX}up", NETWORK, folder)
        self._stack.callback(wait_until_settled, self._lab, node)
        self._stack.callback(pod.delete)
        return pod, pod.add()


PTP = {"type": "ptp"}
MACVLAN = {"type": "macvlan", "master": "eth0"}
ROUTED = {"type": "veth-route"}
IPVLAN = {"type": "ipvlan", "master": "eth0"}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isDefaultGateway": True}


def reached(lab: Lab, pod: Pod, other: Pod) -> set[str]:
    """With whom the pod exchanges packets."""
    targets: dict[str, tuple[traffic.Place, str]] = {
        "internet": (pod, lab.facts["far_address"]),
        "own node": (pod, pod.node.address),
        "other node": (pod, other.node.address),
        "pod of the other node": (pod, other.address),
        "VM behind the router": (lab.node("node1"), pod.address),
    }
    return {
        name for name, (source, target) in targets.items() if traffic.ping(source, target).answered
    }


EVERYONE = {"internet", "own node", "other node", "pod of the other node", "VM behind the router"}


class Case(NamedTuple):
    """Pods of a plugin on both VMs, and with whom they should exchange packets."""

    plugin: dict[str, Any]
    ipam: dict[str, Any]
    passes: set[str]


CASES = {
    # Routed by the node: what leaves has the NIC's MAC, and an address of the VM's port.
    "ptp": Case(PTP, {}, EVERYONE),
    # A MAC of its own, which port security drops.
    "macvlan": Case(MACVLAN, {}, set()),
    # The bridge takes the gateway's address and, with it, a second route to the NIC's subnet.
    "bridge in the subnet of the nodes": Case(BRIDGE, {}, set()),
    # Each node takes the whole of the pods' subnet for its own bridge's.
    "bridge in a subnet of its own": Case(
        {**BRIDGE, "bridge": "cni1"},
        {"subnets": ["m-pods"]},
        {"internet", "own node", "VM behind the router"},
    ),
}


class Pods(NamedTuple):
    """A case carried out: one pod with its result of ADD, and one on the other VM."""

    case: Case
    pod: Pod
    result: dict[str, Any]
    other: Pod


@pytest.fixture(scope="class", params=list(CASES))
def pods(lab: Lab, nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[Pods]:
    case = CASES[request.param]
    try:
        with ExitStack() as stack:
            attach = Attach(lab, stack)
            pod, result = attach(nodes.one, case.plugin, **case.ipam)
            other, _ = attach(nodes.two, case.plugin, **case.ipam)
            yield Pods(case, pod, result, other)
    finally:
        for node in nodes:
            node.exec(["ip", "link", "del", case.plugin.get("bridge", "none")], check=False)


class TestModeFixedIps:
    """Each case's pods live for these tests only."""

    def test_what_port_security_and_routes_let_through_in_mode_fixed_ips(
        self, lab: Lab, pods: Pods
    ) -> None:
        passes = pods.case.passes
        if lab.driver.name == "ovs":
            # The node has the router's address, and so answers none of the router's questions.
            passes = passes - {"internet", "VM behind the router"}
            # Addresses pass two seconds after ADD: nobody waits under another's plugin.
            time.sleep(3)
        assert reached(lab, pods.pod, pods.other) == passes

    def test_the_result_carries_gateway_routes_and_dns_and_check_agrees(self, pods: Pods) -> None:
        in_nodes = not pods.case.ipam
        gateway = "10.70.0.1" if in_nodes else "10.71.0.1"
        (ip,) = pods.result["ips"]
        assert (ip["address"], ip["gateway"]) == (f"{pods.pod.address}/24", gateway)
        wanted = [{"dst": "0.0.0.0/0", "gw": gateway}]
        shown = [f"default via {gateway} "]
        if in_nodes:
            wanted.append({"dst": "10.99.0.0/16", "gw": "10.70.0.254"})
            shown.append("10.99.0.0/16 via 10.70.0.254 ")
        assert [route for route in pods.result["routes"] if route in wanted] == wanted
        routes = pods.pod.exec(["ip", "route"]).stdout
        assert [line for line in shown if line in routes] == shown
        # macvlan (1.9.1) puts its own configuration's `dns` in the place of IPAM's.
        has_dns = in_nodes and pods.case.plugin is not MACVLAN
        servers = ["10.70.0.53", "10.70.0.54"] if has_dns else []
        assert pods.result.get("dns", {}).get("nameservers", []) == servers
        pods.pod.check()


@pytest.fixture
def twice_by_default(lab: Lab, nodes: Nodes) -> Iterator[None]:
    """The nodes' subnet has a host route to everywhere, beside its gateway."""
    calls = lab.connection().network
    subnet = calls.find_subnet("m-nodes")
    more = [{"destination": "0.0.0.0/0", "nexthop": "10.70.0.254"}]
    before = [dict(route) for route in subnet.host_routes]
    calls.update_subnet(subnet.id, host_routes=[*before, *more])
    yield
    calls.update_subnet(subnet.id, host_routes=before)
    for node in nodes:
        node.exec(["ip", "link", "del", str(BRIDGE["bridge"])], check=False)


@pytest.mark.parametrize("plugin", [PTP, BRIDGE, MACVLAN, ROUTED], ids=lambda item: item["type"])
def test_a_host_route_to_everywhere_is_no_second_default_route(
    nodes: Nodes, attached: Attach, twice_by_default: None, plugin: dict[str, Any]
) -> None:
    pod, _ = attached(nodes.one, plugin)
    gateway = "169.254.1.1" if plugin is ROUTED else "10.70.0.1"
    routes = pod.exec(["ip", "route", "show", "default"]).stdout.splitlines()
    assert [line.split()[:3] for line in routes] == [["default", "via", gateway]]
    pod.check()


def test_ipvlan_fails_where_the_kernel_has_no_such_links_and_leaves_no_address(
    lab: Lab, nodes: Nodes
) -> None:
    assert refusal(nodes.one, IPVLAN) == ("" if possible("ipvlan") else NO_IPVLAN)
    wait_until_settled(lab, nodes.one)
    assert leases(lab, nodes.one) == []


@needs("ipvlan")
def test_ipvlan_passes_port_security(lab: Lab, nodes: Nodes, attached: Attach) -> None:
    pod, _ = attached(nodes.one, IPVLAN)
    other, _ = attached(nodes.two, IPVLAN)
    # An ipvlan child and its own node never reach each other.
    assert reached(lab, pod, other) == EVERYONE - {"own node"}


def refusal(node: Node, plugin: dict[str, Any]) -> str:
    """What the plugin says if ADD fails, empty if it does not."""
    name = f"{PREFIX}refused"
    node.exec(["ip", "netns", "add", name])
    try:
        document = {**config(), **plugin}
        answer = call(node, "ADD", name, document, plugin=plugin["type"])
        call(node, "DEL", name, document, plugin=plugin["type"])
        return str(answer.json["msg"]) if answer.status else ""
    finally:
        node.exec(["ip", "netns", "del", name])


@pytest.mark.parametrize("plugin", ["ptp", "bridge", "macvlan", "ipvlan"])
def test_upstreams_status_tells_the_reason_of_ours(nodes: Nodes, plugin: str) -> None:
    document = config("1.1.0", plugin, subnets=["nosuch"], statusPatience=0)
    answer = call(nodes.one, "STATUS", document=document, plugin=plugin, IFNAME="").json
    assert (answer["code"], "nosuch" in answer["msg"]) == (50, True)


def test_upstreams_gc_does_not_reach_ours(lab: Lab, nodes: Nodes, attached: Attach) -> None:
    # Should one of them begin to pass GC on, the page's "Limits" can go.
    pod, _ = attached(nodes.one, PTP)
    for plugin in ("ptp", "bridge", "macvlan", "ipvlan"):
        document = {**config("1.1.0", plugin), "cni.dev/valid-attachments": []}
        assert call(nodes.one, "GC", document=document, plugin=plugin, IFNAME="").status == 0
    (lease,) = leases(lab, nodes.one)
    assert (lease["state"], lease["addresses"]) == ("held", [pod.address])


def test_an_address_that_upstreams_plugin_fails_to_use_is_given_back(
    lab: Lab, nodes: Nodes
) -> None:
    # ptp asks IPAM first, and then finds the interface's name taken.
    name = f"{PREFIX}taken"
    nodes.one.exec(["ip", "netns", "add", name])
    try:
        dummy = ["ip", "-n", name, "link", "add", "eth0", "type", "bridge"]
        nodes.one.exec(dummy)
        answer = call(nodes.one, "ADD", name, config(plugin="ptp"), plugin="ptp")
        assert answer.status != 0
        wait_until_settled(lab, nodes.one)
        assert leases(lab, nodes.one) == []
    finally:
        nodes.one.exec(["ip", "netns", "del", name])


PORT = {"mode": "port", "network": "external"}


@pytest.mark.parametrize("plugin", [MACVLAN, PTP], ids=lambda plugin: plugin["type"])
def test_what_passes_beside_the_cloud_in_mode_port(
    lab: Lab, bare: Nodes, attached: Attach, plugin: dict[str, Any]
) -> None:
    pod, _ = attached(bare.one, plugin, **PORT)
    other, _ = attached(bare.two, plugin, **PORT)
    if plugin is MACVLAN:  # which keeps a child and its own node apart
        assert reached(lab, pod, other) == EVERYONE - {"own node"}
        return
    # Nobody answers ARP for ptp's pods: only what the pods' own node sends finds them.
    assert reached(lab, pod, other) == {"own node"}


def test_a_bridge_with_the_nic_in_it_passes_beside_the_cloud(
    lab: Lab, bare: Nodes, attached: Attach
) -> None:
    for node in bare:
        address = node.facts["addresses"][0]
        steps = [
            "ip link add br0 type bridge",
            "ip link set br0 address $(cat /sys/class/net/eth0/address) up",
            "ip link set eth0 master br0",
            f"ip addr del {address} dev eth0",
            f"ip addr add {address} dev br0",
            f"ip route replace default via {INTERNET_ADDRESS}",
        ]
        node.exec(["sh", "-ec", "; ".join(steps)])
    try:
        plugin = {"type": "bridge", "bridge": "br0"}
        pod, _ = attached(bare.one, plugin, **PORT)
        other, _ = attached(bare.two, plugin, **PORT)
        assert reached(lab, pod, other) == EVERYONE
    finally:
        for node in bare:
            address = node.facts["addresses"][0]
            steps = [
                "ip link del br0",
                f"ip addr add {address} dev eth0",
                f"ip route replace default via {INTERNET_ADDRESS}",
            ]
            node.exec(["sh", "-ec", "; ".join(steps)])


def test_ptp_beside_the_cloud_has_the_node_answer_arp_for_the_gateway(
    bare: Nodes, attached: Attach
) -> None:
    # Why the page advises against it: ptp gives the gateway's address to the node's end.
    ask = ["arping", "-b", "-c3", "-w2", "-I", "eth0", INTERNET_ADDRESS]
    nic = bare.one.exec(["cat", "/sys/class/net/eth0/address"]).stdout.strip()

    assert nic not in bare.two.exec(ask, check=False).stdout.lower()
    attached(bare.one, PTP, **PORT)
    assert nic in bare.two.exec(ask, check=False).stdout.lower()

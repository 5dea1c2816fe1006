"""Our plugins as further networks of a pod, called by the real Multus as it calls any plugin.

The networks are those of docs/how-to/multus.md, which says the same in words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node, namespaces
from neutron_cni_lab.demo import Pod, traffic
from tests.openstack.modes import MARK, PREFIX, fresh_nodes, remove_network
from tests.openstack.multus import install, multus, network
from tests.openstack.plugin import call, config
from tests.openstack.state import held, leases, wait_for, wait_until_settled
from tests.openstack.unchanged import refused_unchanged

NAME, CIDR, GATEWAY = "storage", "10.73.0.0/24", "10.73.0.1"
NIC_ADDRESS = "10.73.0.90"
"""Of the port whose NIC, `eth2`, a pod gets."""
MAC = "02:00:00:00:73:50"
FIRST = {**config("1.1.0"), "name": "first"}
"""The network of every pod's `eth0`."""


@dataclass(frozen=True)
class Machine:
    """A VM whose `eth1` and `eth2` are on a network with a router that has host routes."""

    node: Node
    subnet_id: str


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    calls = lab.connection().network
    remove_network(lab, NAME)
    made = calls.create_network(name=NAME, description=MARK)
    subnet = calls.create_subnet(
        name=NAME,
        network_id=made.id,
        ip_version=4,
        cidr=CIDR,
        is_dhcp_enabled=False,
        allocation_pools=[{"start": "10.73.0.10", "end": "10.73.0.80"}],
        host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.73.0.254"}],
    )
    try:
        calls.add_interface_to_router(lab.facts["router_id"], subnet=subnet.id)
        with fresh_nodes(lab, "mmul") as (node,):
            install(lab, node)
            _plug(lab, node, subnet, "eth1", "10.73.0.9", configured=True)
            _plug(lab, node, subnet, "eth2", NIC_ADDRESS, configured=False)
            tentative = ["ip", "-6", "addr", "show", "tentative"]
            wait_for(lambda: not node.exec(tentative).stdout, "duplicate address detection")
            yield Machine(node, subnet.id)
    finally:
        remove_network(lab, NAME)


def _plug(lab: Lab, node: Node, subnet: Any, name: str, address: str, *, configured: bool) -> None:
    """Attach a NIC to the node as Nova does; where it is `configured` it is up with its address."""
    calls = lab.connection().network
    first = calls.get_port(node.port_id)
    port = calls.create_port(
        network_id=subnet.network_id,
        fixed_ips=[{"subnet_id": subnet.id, "ip_address": address}],
        device_owner="compute:nova",
        device_id=first.device_id,
        binding_host_id=first.binding_host_id,
        security_groups=first.security_group_ids,
    )
    lab.nics_of(node).attach(port.id, port.mac_address, node.facts["mtu"])
    assert namespaces.has_link(node.namespace, name)
    if configured:
        node.exec(["ip", "link", "set", name, "up"])
        node.exec(["ip", "addr", "add", f"{address}/24", "dev", name])
    wait_for(lambda: calls.get_port(port.id).status == "ACTIVE", f"the port of {name}")


@pytest.fixture
def pod(lab: Lab, machine: Machine) -> Iterator[Pod]:
    """An empty namespace; whatever the test attached to it is gone after the test."""
    made = Pod(machine.node, f"{PREFIX}multus")
    machine.node.exec(["ip", "netns", "add", made.name])
    yield made
    machine.node.exec(["ip", "netns", "del", made.name], check=False)
    for name in ("first", "storage", "pairs", "fast"):
        document = {**config("1.1.0"), "name": name, "cni.dev/valid-attachments": []}
        assert call(machine.node, "GC", document=document).status == 0
    assert held(lab, machine.node) == {}


def nic() -> dict[str, Any]:
    """The NIC `eth2`, with the address of its port, which a pod would ask for by `ips`."""
    given = {"type": "static", "addresses": [{"address": f"{NIC_ADDRESS}/24"}]}
    return {**network("host-device-plus"), "ipam": given}


def addresses(pod: Pod) -> dict[str, str]:
    """The IPv4 address of each interface but the loopback, by name."""
    links = json.loads(pod.exec(["ip", "-j", "-4", "addr"]).stdout)
    return {
        link["ifname"]: link["addr_info"][0]["local"] for link in links if link["ifname"] != "lo"
    }


def routes(pod: Pod) -> dict[str, set[str]]:
    """Destinations to the interfaces that routes of the main table lead by."""
    found: dict[str, set[str]] = {}
    for route in json.loads(pod.exec(["ip", "-j", "route"]).stdout):
        found.setdefault(route["dst"], set()).add(route["dev"])
    return found


def on_node(node: Node) -> str:
    """What the node has of the NIC `eth2`, but for its number."""
    shown = node.exec(["sh", "-c", "ip -o link show eth2; ip -o addr show eth2"]).stdout
    return re.sub(r"^\d+: ", "", shown, flags=re.MULTILINE)


def pings(pod: Pod, source: str, target: str) -> bool:
    words = ["ping", "-n", "-c", "1", "-W", "10", "-I", source, target]
    return pod.exec(words, check=False).returncode == 0


@pytest.mark.parametrize(
    ("ipam", "said"),
    [
        ({"gateway": "10.9.9.9"}, "gateway 10.9.9.9 is in none of the pods' subnets"),
        ({"routes": [{"dst": "10.31.0.0/16", "gw": "10.9.9.9"}]}, "gw 10.9.9.9 is in none"),
        ({"routes": [{"dst": "fd30::/64"}]}, "no IPv6 subnet of the pods has a gateway"),
        ({"routes": [{"dst": "0.0.0.0/0"}]}, "dst must not be everything"),
        ({"routes": [{"dst": "10.31.0.0/16", "metric": 5}]}, "ipam.routes[0].metric: is unknown"),
    ],
)
def test_routes_that_can_t_be_are_refused_before_an_address_is_taken(
    lab: Lab, machine: Machine, pod: Pod, ipam: dict[str, Any], said: str
) -> None:
    wait_until_settled(lab, machine.node)  # of the tests before: else its store changes
    document = network("fixed-ips", **ipam)
    assert said in refused_unchanged(lab, machine.node, pod.name, 7, document, IFNAME="net1")


def test_a_pod_has_further_networks_that_leave_its_default_route_alone(
    lab: Lab, machine: Machine, pod: Pod
) -> None:
    node = machine.node
    delegates = [FIRST, network("fixed-ips"), network("address-pairs"), nic()]
    before = on_node(node)
    answer = multus(node, "ADD", pod.name, delegates)
    assert answer.status == 0, answer
    mine = addresses(pod)
    assert [*mine] == ["eth0", "net1", "net2", "net3"]
    assert answer.address == mine["eth0"], "the result is that of the first network"
    assert mine["net3"] == NIC_ADDRESS
    ways = routes(pod)
    assert ways["default"] == {"eth0"}
    assert ways["10.30.0.0/16"] == {"net1"}, "by `routes` in `ipam`"
    assert ways["10.99.0.0/16"] == {"net1", "net2"}, "as the subnet says"
    assert ways["10.73.0.0/24"] == {"net1", "net2", "net3"}
    assert traffic.ping(pod, lab.facts["far_address"]).answered
    for name in ("net1", "net2", "net3"):
        assert pings(pod, mine[name], GATEWAY), name
        if name != "net3":  # its NIC has no gateway, so it answers its own network only
            assert traffic.ping(lab.node("node1"), mine[name]).answered, name
    assert multus(node, "CHECK", pod.name, delegates).status == 0
    assert multus(node, "STATUS", "", delegates).status == 0

    assert multus(node, "DEL", pod.name, delegates).status == 0
    assert addresses(pod) == {}
    assert held(lab, node) == {}
    assert on_node(node) == before


def test_configured_routers_are_those_of_the_node_for_the_pods_of_a_nic(
    machine: Machine, pod: Pod
) -> None:
    extra = [{"dst": "10.31.0.0/16", "gw": "10.73.0.3"}, {"dst": "10.99.0.0/16"}]
    net1 = network("fixed-ips", gateway="10.73.0.2", routes=extra)
    # As Multus passes on the `mac` of an annotation; here it is every network's.
    arguments = f"IgnoreUnknown=1;MAC={MAC}"
    assert multus(machine.node, "ADD", pod.name, [FIRST, net1], ARGS=arguments).status == 0
    mine = addresses(pod)["net1"]
    assert MAC in pod.exec(["ip", "link", "show", "net1"]).stdout
    assert {"10.31.0.0/16", "10.99.0.0/16"} <= routes(pod).keys()
    words = ["ip", "-j", "rule", "show", "priority", "1101", "from", mine]
    (rule,) = json.loads(machine.node.exec(words).stdout)
    table = json.loads(
        machine.node.exec(["ip", "-j", "route", "show", "table", rule["table"]]).stdout
    )
    assert {route["dst"]: route.get("gateway") for route in table} == {
        "default": "10.73.0.2",
        "10.31.0.0/16": "10.73.0.3",
        "10.99.0.0/16": "10.73.0.2",
        "10.73.0.0/24": None,
    }
    assert multus(machine.node, "CHECK", pod.name, [FIRST, net1]).status == 0
    assert multus(machine.node, "DEL", pod.name, [FIRST, net1]).status == 0


def test_multus_gc_reaches_the_first_network_and_keeps_what_it_attached(
    lab: Lab, machine: Machine, pod: Pod
) -> None:
    node = machine.node
    delegates = [FIRST, network("fixed-ips")]
    stale = f"{PREFIX}stale"
    node.exec(["ip", "netns", "add", stale])
    try:
        assert call(node, "ADD", stale, FIRST).status == 0
        assert multus(node, "ADD", pod.name, delegates).status == 0
        assert multus(node, "GC", "", delegates).status == 0
        rows = [row for row in leases(lab, node) if row["state"] == "held"]
        kept = {(row["container_id"], row["network"]) for row in rows}
        assert kept == {(pod.name, "first"), (pod.name, "storage")}
        assert multus(node, "CHECK", pod.name, delegates).status == 0
        assert multus(node, "DEL", pod.name, delegates).status == 0
    finally:
        node.exec(["ip", "netns", "del", stale])


def test_a_second_default_route_is_refused_and_nothing_stays(
    lab: Lab, machine: Machine, pod: Pod
) -> None:
    net1 = {**network("fixed-ips"), "defaultRoute": True}
    answer = multus(machine.node, "ADD", pod.name, [FIRST, net1])
    assert answer.status == 1
    assert "the pod already has a default route for IPv4" in answer.json["msg"]
    assert addresses(pod) == {}
    assert held(lab, machine.node) == {}


@pytest.fixture(scope="module")
def beside(lab: Lab) -> Iterator[Node]:
    """A node beside the cloud, whose pods have an `eth0` of another project's plugins."""
    with fresh_nodes(lab, "mmulflat", kind="bare") as (node,):
        install(lab, node)
        yield node


def test_upstreams_macvlan_in_mode_port_beside_another_s_eth0(lab: Lab, beside: Node) -> None:
    theirs = {"type": "host-local", "subnet": "10.88.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    first = {"cniVersion": "1.0.0", "name": "theirs", "type": "ptp", "ipam": theirs}
    pod = Pod(beside, f"{PREFIX}beside")
    beside.exec(["ip", "netns", "add", pod.name])
    try:
        delegates = [first, network("port")]
        assert multus(beside, "ADD", pod.name, delegates).status == 0
        assert routes(pod)["default"] == {"eth0"}
        assert pings(pod, addresses(pod)["net1"], "172.24.4.1")
        assert multus(beside, "CHECK", pod.name, delegates).status == 0
        assert multus(beside, "DEL", pod.name, delegates).status == 0
        wanted = [first, {**network("port"), "defaultRoute": True}]
        answer = multus(beside, "ADD", pod.name, wanted)
        assert "the pod already has a default route for IPv4" in answer.json["msg"]
        assert held(lab, beside) == {}
    finally:
        beside.exec(["ip", "netns", "del", pod.name])

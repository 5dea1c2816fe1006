"""A VM with two NICs, pods on the second one: Neutron lets their addresses pass there only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from neutron_cni_lab import Lab, Node, namespaces
from neutron_cni_lab.demo import Pod, traffic
from neutron_cni_lab.processes import run
from tests.openstack.modes import MARK, fresh_nodes, remove_network
from tests.openstack.plugin import NETWORK, config
from tests.openstack.state import wait_for, wait_until_settled

NAME, CIDR, LINK = "m-second", "10.72.0.0/24", "second-nic"
FOLDER = "/run/neutron-cni-two-nics"


@dataclass(frozen=True)
class Machine:
    """The VM, and the Neutron port of its `eth1`. The default route goes by `eth0`."""

    node: Node
    port_id: str


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    calls = lab.connection().network
    remove_network(lab, NAME)
    network = calls.create_network(name=NAME, description=MARK)
    subnet = calls.create_subnet(
        name=NAME, network_id=network.id, ip_version=4, cidr=CIDR, is_dhcp_enabled=False
    )
    try:
        calls.add_interface_to_router(lab.facts["router_id"], subnet=subnet.id)
        with fresh_nodes(lab, "mtwo") as (node,):
            yield Machine(node, _plug_second(lab, node, network.id))
    finally:
        lab.switch.unplug(LINK)
        remove_network(lab, NAME)


def _plug_second(lab: Lab, node: Node, network_id: str) -> str:
    """Give the node an `eth1` with a port of its own; the port's id."""
    calls, switch = lab.connection().network, lab.switch
    first = calls.get_port(node.port_id)
    port = calls.create_port(
        network_id=network_id,
        device_owner="compute:nova",
        device_id=first.device_id,
        binding_host_id=first.binding_host_id,
        security_groups=first.security_group_ids,
    )
    switch.unplug(LINK)
    mtu = str(calls.get_network(network_id).mtu)
    namespaces.ip(
        switch.namespace,
        *("link", "add", LINK, "mtu", mtu, "type", "veth", "peer", "name", "eth1"),
        *("mtu", mtu, "address", port.mac_address, "netns", node.namespace),
    )
    for where, name in ((switch.namespace, LINK), (node.namespace, "eth1")):
        run(namespaces.inside(where, ["ethtool", "-K", name, "tx", "off"]))
        namespaces.ip(where, "link", "set", name, "up")
    switch.plug(LINK, "br-int", iface_id=port.id, attached_mac=port.mac_address)
    address = port.fixed_ips[0]["ip_address"]
    namespaces.ip(node.namespace, "addr", "add", f"{address}/24", "dev", "eth1")
    # A strict filter, as many distributions have it.
    node.exec(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"])
    wait_for(lambda: calls.get_port(port.id).status == "ACTIVE", "the second port to be active")
    return str(port.id)


@pytest.mark.parametrize("said", ["hostInterface", "portId"])
def test_pods_of_the_second_nic_reach_everybody_and_are_reached(
    lab: Lab, machine: Machine, said: str
) -> None:
    node = machine.node
    ipam = config(**({"portId": machine.port_id} if said == "portId" else {}))["ipam"]
    main = {"type": "veth-route", "ipam": ipam}
    if said == "hostInterface":
        main["hostInterface"] = "eth1"
    conflist = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [main]}
    write = f"mkdir -p {FOLDER} && cat > {FOLDER}/network.conflist"
    node.exec(["sh", "-c", write], input=json.dumps(conflist))
    pods = [Pod(node, f"m-two{number}", NETWORK, FOLDER) for number in range(2)]
    try:
        for pod in pods:
            pod.add()
        first, second = pods
        assert first.address.startswith("10.72.0.")
        far, other = lab.facts["far_address"], lab.node("node1")
        for target in (far, other.address, second.address, node.address):
            assert traffic.ping(first, target).answered, target
        assert traffic.ping(other, first.address).answered
        first.check()
        node.exec(["ip", "rule", "del", "priority", "1101", "from", first.address])
        assert not traffic.ping(first, far).answered
        with pytest.raises(Exception, match="leaves by eth0 and not by eth1"):
            first.check()
    finally:
        for pod in pods:
            pod.delete()
    wait_until_settled(lab, node)
    assert "proto 110" not in node.exec(["ip", "rule"]).stdout

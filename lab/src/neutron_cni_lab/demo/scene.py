"""The pods and Neutron objects that the demo's checks work with, made by the checks themselves."""

import ipaddress
import json
import time
from typing import Any

from neutron_cni_lab.demo.pod import CONF_DIR, Pod
from neutron_cni_lab.demo.traces import traces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node

NO_REST_CONF_DIR = "/run/neutron-cni-demo"
_NO_REST_NETWORK = "neutron-no-rest"
_FLOATING_IP = "neutron-cni demo"
_RETURN_SECONDS = 60.0


class Scene:
    """node1 with pod1 and pod2, node2 with pod3, the host on the internet, and Neutron.

    The pods are on the nodes' CNI network `network`, whose file in CONF_DIR is `conflist`.
    """

    network = "neutron"
    conflist = "10-neutron-cni.conflist"

    def __init__(self, lab: Lab, nodes: tuple[str, str] = ("node1", "node2")) -> None:
        self.lab = lab
        self.node1, self.node2 = map(lab.node, nodes)
        self.internet = lab.node("internet")
        self.pod1, self.pod2, self.pod3 = (
            Pod(node, name, self.network)
            for node, name in ((self.node1, "pod1"), (self.node1, "pod2"), (self.node2, "pod3"))
        )

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Those that are left running."""
        return (self.pod1, self.pod2, self.pod3)

    @property
    def far_address(self) -> str:
        """The internet host's."""
        return str(self.lab.facts["far_address"])

    @property
    def mtu(self) -> int:
        """Bytes, as Neutron says."""
        return int(self._calls.get_network(self._network_id).mtu)

    @property
    def gateway(self) -> str:
        """The router's address on the pods' subnet."""
        return str(self._subnet.gateway_ip)

    @property
    def router_address(self) -> str:
        """The router's address on the external network, which SNAT gives to what leaves."""
        router = self._calls.get_router(self.lab.facts["router_id"])
        return str(router.external_gateway_info["external_fixed_ips"][0]["ip_address"])

    def fixed_ips(self, node: Node) -> set[str]:
        """The addresses of the node's port."""
        port = self._calls.get_port(node.port_id)
        return {item["ip_address"] for item in port.fixed_ips}

    def unused_address(self) -> str:
        """The last address of the pods' subnet that is on no port."""
        used = {
            item["ip_address"]
            for port in self._calls.ports(network_id=self._network_id)
            for item in port.fixed_ips
        }
        subnet = ipaddress.ip_network(self._subnet.cidr)
        last = int(subnet.broadcast_address)
        return next(
            str(address)
            for number in range(1, subnet.num_addresses)
            if str(address := ipaddress.ip_address(last - number)) not in used
        )

    def floating_ip(self, pod: Pod) -> str:
        """The demo's floating IP, now leading to `pod`."""
        wanted = {"port_id": self.port_id(pod), "fixed_ip_address": pod.address}
        found = list(self._calls.ips(description=_FLOATING_IP))
        if found:
            if found[0].fixed_ip_address != pod.address:
                self._calls.update_ip(found[0].id, **wanted)
            return str(found[0].floating_ip_address)
        network_id = self.lab.facts["networks"]["external"]
        made = self._calls.create_ip(
            floating_network_id=network_id, description=_FLOATING_IP, **wanted
        )
        return str(made.floating_ip_address)

    def delete_floating_ip(self) -> None:
        """Have Neutron without the demo's floating IP."""
        for found in self._calls.ips(description=_FLOATING_IP):
            self._calls.delete_ip(found.id)

    def port_id(self, pod: Pod) -> str:
        """The Neutron port that has the pod's address: that of its node's NIC."""
        return pod.node.port_id

    def passing_pod(self) -> Pod:
        """pod4 on node1, of a network whose addresses go back to Neutron at once.

        By default one rests for 30 seconds first, as other hosts' caches outlive a pod.
        """
        read = self.node1.exec(["cat", f"{CONF_DIR}/{self.conflist}"]).stdout
        conflist: dict[str, Any] = json.loads(read)
        conflist["name"] = _NO_REST_NETWORK
        conflist["plugins"][0]["ipam"]["quarantine"] = 0
        path = f"{NO_REST_CONF_DIR}/10-no-rest.conflist"
        script = f"mkdir -p {NO_REST_CONF_DIR} && cat > {path}"
        self.node1.exec(["sh", "-c", script], input=json.dumps(conflist))
        return Pod(self.node1, "pod4", _NO_REST_NETWORK, NO_REST_CONF_DIR)

    def resting(self) -> frozenset[str]:
        """Traces on node1's port of pods deleted before: they may go at any time."""
        routes = json.loads(self.node1.exec(["ip", "-j", "route"]).stdout)
        live = {route["dst"] for route in routes} | {self.node1.address}
        gone = self.fixed_ips(self.node1) - live
        return frozenset(
            line
            for line in traces(self.lab, self.node1)
            if any(line == f"fixed IP {ip}" or f":{ip}:" in line for ip in gone)
        )

    def traces_without(self, pod: Pod, before: frozenset[str]) -> frozenset[str]:
        """node1's traces once nothing is there that was not there `before`; gives up in time."""
        give_up = time.monotonic() + _RETURN_SECONDS
        while (found := traces(self.lab, pod.node)) - before and time.monotonic() < give_up:
            time.sleep(0.1)
        return found

    @property
    def _calls(self) -> Any:
        return self.lab.connection().network

    @property
    def _network_id(self) -> str:
        """The nodes' network."""
        return str(self.lab.facts["networks"][self.node1.facts["network"]])

    @property
    def _subnet(self) -> Any:
        """The IPv4 subnet of it, where the pods are."""
        found = next(self._calls.subnets(network_id=self._network_id, ip_version=4))
        if found.gateway_ip is None:
            raise LabError(f"the subnet {found.name} has no gateway")
        return found

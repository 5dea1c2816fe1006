"""What `./demo nic` works with: a pod that has a NIC of its own, its port and its group."""

import json
from typing import Any

from neutron_cni_lab.demo.pod import CONF_DIR, Pod
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.demo.traces import in_kernel
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node
from neutron_cni_lab.processes import wait_until

GROUP = "pod1 of the demo"
"""The security group of the pod's port: it lets nothing in until the demo says so."""

PATIENCE = 60.0
"""Seconds after which what should come has not."""


class NicScene(Scene):
    """The scene with one pod: pod1 on node1, which is a server of Nova's."""

    network = "nic"
    conflist = "30-nic.conflist"

    def __init__(self, lab: Lab, nodes: tuple[str, str]) -> None:
        super().__init__(lab, nodes)
        self.before: frozenset[str] = frozenset()
        """`everything` of when the demo began."""

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The one."""
        return (self.pod1,)

    def port_id(self, pod: Pod) -> str:
        """The pod's own port."""
        return str(self.port(pod).id)

    def port(self, pod: Pod) -> Any:
        """The Neutron port with the MAC of the pod's eth0."""
        mac = next(mac for mac, name in links(pod.node, pod.name).items() if name == "eth0")
        found = next(self._calls.ports(mac_address=mac), None)
        if found is None:
            raise LabError(f"no Neutron port has {mac}, the MAC of {pod.name}'s eth0")
        return found

    def attached(self) -> list[str]:
        """The MACs of node1's NICs, as Nova lists them."""
        found = self.lab.connection().compute.server_interfaces(self.node1.server_id)
        return sorted(str(item.mac_addr) for item in found)

    def begin(self) -> None:
        """Have node1's CNI network `nic`, a security group for it that is closed, and no pod."""
        self.end()
        self.before = self.everything()
        group = self._calls.create_security_group(name=GROUP, description="Lets nothing in")
        self.configure(str(group.id))

    def open_group(self) -> None:
        """Let all of IPv4 in."""
        found = next(self._calls.security_groups(name=GROUP))
        self._calls.create_security_group_rule(
            security_group_id=found.id, direction="ingress", ether_type="IPv4"
        )

    def end(self) -> None:
        """Have all of the demo gone; the network stays, for pods that are open to all."""
        self.configure(str(self.lab.facts["security_group_id"]))
        self.delete_floating_ip()
        self.pod1.delete()
        self.wait_detached()
        for group in self._calls.security_groups(name=GROUP):
            self._calls.delete_security_group(group)

    def wait_detached(self) -> None:
        """`LabError` if the pod's NIC and port do not go in time."""
        wait_until(self._is_detached, "the pod's NIC to go", PATIENCE)

    def _is_detached(self) -> bool:
        """Whether node1 has its own NIC only, says Nova, says its kernel, and no pod a port."""
        own = [str(self.node1.facts["mac"])]
        ports = self._calls.ports(tags=f"neutron-cni,ncni-node={self.node1.name}")
        nics = [mac for mac, name in links(self.node1).items() if not name.startswith("veth")]
        return self.attached() == nics == own and not list(ports)

    def everything(self) -> frozenset[str]:
        """Node1's kernel, and what the demo makes in Nova and Neutron, as lines to compare."""
        calls = self._calls
        return frozenset(
            [
                *in_kernel(self.node1),
                *(f"NIC {mac}" for mac in self.attached()),
                *(f"port {port.name or port.id}" for port in calls.ports()),
                *(f"security group {group.name}" for group in calls.security_groups()),
                *(f"floating IP {ip.floating_ip_address}" for ip in calls.ips()),
            ]
        )

    def configure(self, group: str) -> None:
        """Write the network's file on node1; new pods' ports get this security group."""
        ipam = {
            "type": "cni-ipam-neutron",
            "mode": "nova-interface",
            "cloud": "lab",
            "network": self.node1.facts["network"],
            "securityGroups": [group],
            "timeout": 90,
        }
        main = {"type": "host-device-plus", "ipam": ipam}
        leg = {"type": "veth-host", "serviceCIDRs": ["10.96.0.0/12"]}
        conflist = {"cniVersion": "1.0.0", "name": self.network, "plugins": [main, leg]}
        script = f"mkdir -p {CONF_DIR} && cat > {CONF_DIR}/{self.conflist}"
        self.node1.exec(["sh", "-c", script], input=json.dumps(conflist, indent=2) + "\n")


def links(node: Node, netns: str = "") -> dict[str, str]:
    """The names of all links but `lo`, by MAC; those of a namespace of the node, if it is named."""
    inside = ["-n", netns] if netns else []
    shown = json.loads(node.exec(["ip", *inside, "-j", "link"]).stdout)
    return {link["address"]: link["ifname"] for link in shown if link["ifname"] != "lo"}

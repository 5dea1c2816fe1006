"""What an attachment leaves in Neutron and in its node's kernel, as lines to compare."""

from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node

_KERNEL = {
    "route": ["-4", "route", "show", "table", "all"],
    "IPv6 route": ["-6", "route", "show", "table", "all"],
    "neighbour": ["neigh", "show", "nud", "permanent"],
    "proxy": ["neigh", "show", "proxy"],
    "rule": ["rule", "show"],
}


def traces(lab: Lab, node: Node) -> frozenset[str]:
    """All that is there now: "fixed IP 10.10.1.2", "route 10.10.1.2 dev veth...", and so on."""
    return in_neutron(lab, node) | in_kernel(node)


def in_neutron(lab: Lab, node: Node) -> frozenset[str]:
    """What Neutron's port of the node shows: its fixed IPs, address pairs and tags."""
    port = lab.connection().network.get_port(node.port_id)
    lines = [f"fixed IP {item['ip_address']}" for item in port.fixed_ips]
    lines += [f"address pair {item['ip_address']}" for item in port.allowed_address_pairs]
    lines += [f"tag {tag}" for tag in port.tags]
    return frozenset(lines)


def in_kernel(node: Node) -> frozenset[str]:
    """Devices with their MACs, addresses, routes, permanent neighbours and rules of the node."""
    lines = []
    for line in node.exec(["ip", "-o", "addr", "show"]).stdout.splitlines():
        lines.append(f"address {' '.join(line.split()[1:4])}")
    for line in node.exec(["ip", "-br", "link", "show"]).stdout.splitlines():
        name, _, mac, *_ = line.split()
        lines.append(f"device {name.partition('@')[0]} {mac}")
    for kind, words in _KERNEL.items():
        for line in node.exec(["ip", *words]).stdout.splitlines():
            lines.append(f"{kind} {line.strip()}")
    return frozenset(lines)

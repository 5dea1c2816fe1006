"""A subnet for pods on the nodes' network, without DHCP: the layout that the README recommends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

from neutron_cni_lab import Lab, Node
from tests.openstack.state import wait_for

GATEWAY = "10.61.0.1"
_NAME, _CIDR = "pods-own", "10.61.0.0/24"


@contextmanager
def pods_subnet(lab: Lab, *nodes: Node) -> Iterator[str]:
    """Its name; the router has a leg in it. It goes when the nodes' ports have no addresses of it
    left, and what a run that was killed left of it goes first."""
    calls = lab.connection().network
    _remove(lab)
    made = calls.create_subnet(
        name=_NAME,
        network_id=lab.facts["networks"]["tenant"],
        ip_version=4,
        cidr=_CIDR,
        gateway_ip=GATEWAY,
        is_dhcp_enabled=False,
    )
    calls.add_interface_to_router(lab.facts["router_id"], subnet=made.id)
    try:
        yield _NAME
    finally:
        wait_for(lambda: not _on_ports(lab, nodes), "the pods' addresses to go")
        _remove(lab)


def _on_ports(lab: Lab, nodes: tuple[Node, ...]) -> list[str]:
    ports = [lab.connection().network.get_port(node.port_id) for node in nodes]
    fixed = [item["ip_address"] for port in ports for item in port.fixed_ips]
    return [address for address in fixed if ip_address(address) in ip_network(_CIDR)]


def _remove(lab: Lab) -> None:
    calls = lab.connection().network
    found = calls.find_subnet(_NAME, ignore_missing=True)
    if found is None:
        return
    for port in list(calls.ports(network_id=found.network_id)):
        ours = any(item["subnet_id"] == found.id for item in port.fixed_ips)
        if ours and port.device_owner == "network:router_interface":
            calls.remove_interface_from_router(port.device_id, subnet=found.id)
        elif ours and port.device_owner == "neutron-cni:pod":
            calls.delete_port(port)
    calls.delete_subnet(found)

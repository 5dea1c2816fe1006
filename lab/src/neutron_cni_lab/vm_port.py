"""A VM's Neutron port, and what of it the VM gets to know by DHCP."""

import ipaddress
from typing import Any

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.processes import wait_until


def create(cloud: Any, name: str, network: str, **attributes: Any) -> dict[str, Any]:
    """A port called `name` on `network` (name or id), and the facts of a node with it."""
    found = cloud.network.find_network(network, ignore_missing=True)
    if found is None:
        known = ", ".join(sorted(item.name for item in cloud.network.networks()))
        raise LabError(f"no network {network!r}", f"There are: {known}.")
    # One left by an `up` that was killed before it wrote the node down.
    for stale in cloud.network.ports(name=name, device_owner="compute:nova"):
        cloud.network.delete_port(stale)
    port = cloud.network.create_port(
        name=name, network_id=found.id, device_owner="compute:nova", **attributes
    )
    addresses, gateways = [], []
    for fixed in port.fixed_ips:
        subnet = cloud.network.get_subnet(fixed["subnet_id"])
        length = ipaddress.ip_network(subnet.cidr).prefixlen
        addresses.append(f"{fixed['ip_address']}/{length}")
        if subnet.gateway_ip:
            gateways.append(subnet.gateway_ip)
    # What DHCP tells a VM on ML2/OVN (option 121): the metadata address is by this port.
    hosts = cloud.network.ports(network_id=found.id, device_owner="network:distributed")
    routers = [fixed["ip_address"] for host in hosts for fixed in host.fixed_ips]
    return {
        "kind": "vm",
        "network": network,
        "port_id": port.id,
        "mac": port.mac_address,
        "mtu": found.mtu,
        "addresses": sorted(addresses, key=lambda address: ":" in address),
        "gateways": gateways,
        "metadata_by": [address for address in routers if ":" not in address],
    }


def wait_active(cloud: Any, port_id: str, hint: str) -> None:
    """Wait until Neutron has heard that the port is plugged in."""

    def active() -> bool:
        return bool(cloud.network.get_port(port_id).status == "ACTIVE")

    wait_until(active, f"port {port_id} to be ACTIVE", 60, hint)

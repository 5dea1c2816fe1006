"""What IPAM needs to know of its own node: the NIC, and who has an address."""

from __future__ import annotations

import os

from neutron_cni.netlink import nic_facts, observe
from neutron_cni.netlink.facts import Uplink
from neutron_cni.netlink.namespaces import (
    mount_namespaces,
    network_of_first_process,
    occupied,
    others,
)
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

__all__ = [
    "has_static_address",
    "mount_namespaces",
    "name",
    "namespace_with",
    "network_of_first_process",
    "occupied",
    "uplink",
    "waiting_nics",
]


def name(config: IpamConfig) -> str:
    """What this node is called in Neutron's tags: `node` of the configuration, or the host name."""
    return config.node or os.uname().nodename


def uplink(host_interface: str | None) -> Uplink:
    """The NIC named, or that of the default route. Raises CniError when there is none."""
    found = observe.find_uplink(host_interface)
    if found is None:
        raise CniError(
            Code.PORT_NOT_FOUND,
            "this node has no default route, so its NIC can't be told",
            "set `hostInterface` or `portId` in the ipam section",
        )
    return found


def has_static_address(host_interface: str | None) -> bool:
    """Whether the NIC named, or that of the default route, has IPv4 addresses, and all of them for
    good: no DHCP client looks after one. False where there is no such NIC."""
    try:
        return observe.has_static_address(uplink(host_interface).name)
    except CniError:
        return False


def waiting_nics() -> dict[str, bool]:
    """The MACs of NICs that a pod may get, each with whether it is as new; see `nic_facts`."""
    return nic_facts.waiting()


def namespace_with(address: IPAddress) -> str:
    """The path of the namespace on this node that has the address, empty when none has.

    Namespaces with a name (`namespaces.NAMED`), with a process in them, or with a name in the
    mounts of a process that has the node's network: a runtime may have removed the name and left
    the container, or keep its names in a mount namespace of its own.
    """
    for namespace in others():
        links = namespace.call(observe.addresses_here)
        if any(item.ip == address for addresses in links.values() for item in addresses):
            return namespace.path
    return ""

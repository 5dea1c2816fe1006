"""What no plugin can make work: leases that a node can't carry. Pure."""

from __future__ import annotations

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease

_MIN_IPV6_MTU = 1280


def require_usable(lease: Lease, facts: HostFacts, mtu: int | None) -> None:
    """Raise CniError if pods of this node can't use the addresses; `mtu` is their link's, in bytes.

    CONFLICT if the node itself has one: the kernel looks in the local table first, so a host route
    would have no effect and the pod would get no packet from its node. INVALID_CONFIG if the MTU or
    the node can't carry an IPv6 address.
    """
    own = {item.ip for item in facts.uplink.addresses} if facts.uplink else set()
    for item in lease.addresses:
        ip = item.address.ip
        if ip in own or ip in facts.addresses:
            raise CniError(
                Code.CONFLICT,
                f"the node itself holds the pod's address {ip}",
                "take it off the NIC: DHCP or cloud-init must only configure the first address",
            )
        if ip.version == 6 and not facts.ipv6:
            raise CniError(
                Code.INVALID_CONFIG,
                f"the pod's address {ip} needs IPv6, which is switched off on the node",
                "boot without ipv6.disable=1, or lease no IPv6 address",
            )
        if ip.version == 6 and mtu is not None and mtu < _MIN_IPV6_MTU:
            raise CniError(
                Code.INVALID_CONFIG,
                f"an MTU of {mtu} bytes can't carry the pod's IPv6 address {ip}",
                f"IPv6 needs {_MIN_IPV6_MTU} bytes (RFC 8200)",
            )


def nic_for_nobody(plugin: str) -> CniError:
    """The error where IPAM would get a NIC for each pod, and the plugin gives pods none."""
    return CniError(
        Code.INVALID_CONFIG,
        f"ipam.mode nova-interface gets a NIC for each pod, and {plugin} moves none into it",
        "use it with type host-device-plus",
    )


def mac_of_another(mac: str) -> CniError:
    """The error where the runtime asks for a MAC, and Neutron chooses that of the pod's NIC."""
    return CniError(
        Code.UNSUPPORTED_FIELD,
        f"runtimeConfig.mac {mac!r}: with ipam.mode nova-interface the NIC has the MAC of its port",
        "take the capability `mac` away",
    )

"""What a plan builder may know about the node: read by `observe`, passed on as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from neutron_cni.values.address import IPInterface, IPNetwork


@dataclass(frozen=True, slots=True)
class Uplink:
    """The node's NIC towards the Neutron network.

    `onlink` are the subnets that are reached on the link itself, by the node's routes (with
    DHCPv6 the address is a /128 and the subnet comes from a router advertisement, so the
    addresses alone do not tell). `accept_ra` is that sysctl, None without IPv6.
    """

    name: str
    mac: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()
    onlink: tuple[IPNetwork, ...] = ()
    accept_ra: int | None = None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The node as it is now.

    `dummy`: the kernel can make (or already has) the dummy link. `ipv6`: not switched off at
    boot. `force_forwarding`: IPv6 forwarding can be set for one link (kernel 6.17 and later).
    `ipv6_forwarding`: net.ipv6.conf.all.forwarding.
    """

    uplink: Uplink | None = None
    dummy: bool = False
    ipv6: bool = True
    force_forwarding: bool = False
    ipv6_forwarding: bool = False

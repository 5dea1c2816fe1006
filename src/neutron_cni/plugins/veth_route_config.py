"""veth-route's own keys of the network configuration."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import msgspec

from neutron_cni.netlink.plan import MAX_LINK_NAME
from neutron_cni.values.address import IPAddress

GATEWAY_V6 = IPv6Address("fe80::1")


class Destination(msgspec.Struct, frozen=True):
    """A network that the pod reaches by this interface. `dst` is a CIDR, such as "10.8.0.0/16"."""

    dst: str

    def __post_init__(self) -> None:
        if "%" in self.dst:
            raise ValueError(f"dst must be a network without a scope, not {self.dst!r:.80}")
        try:
            network = ip_network(self.dst)
        except ValueError as error:
            raise ValueError(f"dst must be a network such as 10.8.0.0/16: {error}") from None
        if not network.prefixlen:
            raise ValueError("dst must not be everything: that is what defaultRoute is for")


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """veth-route's own keys of the network configuration.

    `mtu`: bytes; default, also with 0: the smaller of the Neutron network's and the uplink's.
    `host_interface`: the uplink; default: the one in `ipam`, else the NIC of the default route.
    `host_forwarding`: also switch forwarding on for the whole node, not just for the links used.
    `gateway_address`: the pods' IPv4 gateway, an address of the node's link `dummy_name`.
    `default_route`: whether the pod's default route goes by this interface; default: if the pod has
    no other one.
    `routes`: where the default route does not go by it, further networks that do, as {"dst": CIDR}.
    """

    mtu: int | None = None
    host_interface: str | None = None
    host_forwarding: bool = False
    gateway_address: str = "169.254.1.1"
    dummy_name: str = "dummy0"
    default_route: bool | None = None
    routes: tuple[Destination, ...] = ()

    def __post_init__(self) -> None:
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise ValueError(f"mtu must be 68 to 65535 bytes, not {self.mtu}")
        try:
            gateway = IPv4Address(self.gateway_address)
        except ValueError:
            given = self.gateway_address
            raise ValueError(f"gatewayAddress must be an IPv4 address, not {given!r}") from None
        if gateway.is_multicast or gateway.is_unspecified or gateway.is_loopback:
            raise ValueError(f"gatewayAddress must be an address of a host, not {gateway}")
        if not re.fullmatch(rf"(?!\.)[\w.-]{{1,{MAX_LINK_NAME}}}", self.dummy_name, re.ASCII):
            raise ValueError(
                f"dummyName must have 1 to {MAX_LINK_NAME} letters, digits, '_', '.' or '-'"
            )

    def gateway(self, version: int) -> IPAddress:
        """The pods' gateway: `gateway_address` for IP version 4, fe80::1 for 6."""
        return IPv4Address(self.gateway_address) if version == 4 else GATEWAY_V6

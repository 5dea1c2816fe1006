"""What IPAM gives to a main plugin: addresses, and all that the subnet knows about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec

from neutron_cni.cni.result import Dns, IPAddress, IPConfig, IPInterface, Result, Route


@dataclass(frozen=True, slots=True)
class LeasedAddress:
    """One address with its subnet's prefix ("10.10.0.19/20") and gateway."""

    address: IPInterface
    gateway: IPAddress | None = None
    subnet_id: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The addresses of one attachment.

    `mtu` is the Neutron network's, in bytes. `port_id` is the Neutron port that carries the
    addresses (empty for a third-party IPAM). `announce`: the data plane only learns where the
    address is from a gratuitous ARP or unsolicited NA, so the main plugin must send one.
    """

    addresses: tuple[LeasedAddress, ...]
    routes: tuple[Route, ...] = ()
    dns: Dns = field(default_factory=Dns)
    mtu: int | None = None
    port_id: str = ""
    announce: bool = False

    @classmethod
    def from_result(cls, result: Result) -> Lease:
        """The lease in a third-party IPAM plugin's result."""
        return cls(
            addresses=tuple(LeasedAddress(ip.address, ip.gateway) for ip in result.ips),
            routes=result.routes,
            dns=result.dns,
        )

    def to_result(self) -> Result:
        """This lease as an IPAM result."""
        return Result(
            ips=tuple(IPConfig(item.address, item.gateway) for item in self.addresses),
            routes=self.routes,
            dns=self.dns,
        )


def lease_to_json(lease: Lease) -> str:
    """For the store."""
    return msgspec.json.encode(
        {
            "addresses": [
                [str(item.address), str(item.gateway or ""), item.subnet_id]
                for item in lease.addresses
            ],
            "routes": [
                [str(item.destination), str(item.gateway or ""), item.mtu] for item in lease.routes
            ],
            "dns": [lease.dns.nameservers, lease.dns.domain, lease.dns.search, lease.dns.options],
            "mtu": lease.mtu,
            "port_id": lease.port_id,
            "announce": lease.announce,
        }
    ).decode()


def lease_from_json(text: str) -> Lease:
    """The inverse of `lease_to_json`."""
    raw: Any = msgspec.json.decode(text)
    nameservers, domain, search, options = raw["dns"]
    return Lease(
        addresses=tuple(
            LeasedAddress(ip_interface(address), _optional(gateway), subnet)
            for address, gateway, subnet in raw["addresses"]
        ),
        routes=tuple(
            Route(ip_network(destination), _optional(gateway), mtu)
            for destination, gateway, mtu in raw["routes"]
        ),
        dns=Dns(tuple(nameservers), domain, tuple(search), tuple(options)),
        mtu=raw["mtu"],
        port_id=raw["port_id"],
        announce=raw["announce"],
    )


def _optional(text: str) -> IPAddress | None:
    return ip_address(text) if text else None

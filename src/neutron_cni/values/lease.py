"""What IPAM gives to a main plugin: addresses, and all that the subnet knows about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.values.address import IPAddress, IPInterface
from neutron_cni.values.result import Dns, IPConfig, Result, Route


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

"""What IPAM gives to a main plugin: addresses, and what their Neutron subnet says about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.values.address import IPAddress, IPInterface
from neutron_cni.values.result import Dns, IPConfig, Result, Route


@dataclass(frozen=True, slots=True)
class LeasedAddress:
    """One address with its subnet's prefix length ("10.10.0.19/20"), gateway and Neutron id."""

    address: IPInterface
    gateway: IPAddress | None = None
    subnet_id: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The addresses of one attachment.

    `mtu` is the Neutron network's, in bytes. `port_id` is the Neutron port that carries the
    addresses (empty for a third-party IPAM). `nic_mac` is the MAC of the VM's NIC whose port lets
    the addresses pass; empty where no NIC of a VM is known (mode `port`, a third-party IPAM).
    """

    addresses: tuple[LeasedAddress, ...]
    routes: tuple[Route, ...] = ()
    dns: Dns = field(default_factory=Dns)
    mtu: int | None = None
    port_id: str = ""
    nic_mac: str = ""

    @classmethod
    def from_result(cls, result: Result) -> Lease:
        """The lease in a result of a third-party IPAM plugin or of an earlier plugin in a chain."""
        return cls(
            addresses=tuple(LeasedAddress(ip.address, ip.gateway) for ip in result.ips),
            routes=result.routes,
            dns=result.dns,
        )

    def to_result(self) -> Result:
        """This lease as the result of an IPAM plugin: without interfaces."""
        return Result(
            ips=tuple(IPConfig(item.address, item.gateway) for item in self.addresses),
            routes=self.routes,
            dns=self.dns,
        )

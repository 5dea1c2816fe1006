"""Neutron's objects as far as we use them: frozen values, read once from JSON at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any, Self

from neutron_cni.values.address import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port and the subnet it is from."""

    subnet_id: str
    address: IPAddress

    def to_json(self) -> dict[str, str]:
        """Both keys are sent: an entry with a subnet only would reuse any address of the port."""
        return {"subnet_id": self.subnet_id, "ip_address": str(self.address)}


@dataclass(frozen=True, slots=True)
class AddressPair:
    """An allowed address pair. `address` is an address or a CIDR; `mac` may be the port's."""

    address: str
    mac: str = ""

    @property
    def single(self) -> IPAddress | None:
        """The one address that it stands for, None where it is a CIDR of several."""
        net = ip_network(self.address, strict=False)
        return net.network_address if net.num_addresses == 1 else None

    def to_json(self) -> dict[str, str]:
        """As Neutron returns it, MAC included, so that rewriting a list changes nothing."""
        return {"ip_address": self.address} | ({"mac_address": self.mac} if self.mac else {})


@dataclass(frozen=True, slots=True)
class Port:
    """A Neutron port. `revision` is what If-Match compares; `created_at` is UTC."""

    id: str
    name: str
    project_id: str
    network_id: str
    mac: str
    fixed_ips: tuple[FixedIp, ...]
    address_pairs: tuple[AddressPair, ...]
    tags: frozenset[str]
    revision: int
    device_id: str
    device_owner: str
    created_at: datetime | None
    port_security: bool

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """All addresses of the port; Neutron's list has no meaningful order."""
        return frozenset(item.address for item in self.fixed_ips)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"port": ...}` of the Networking API v2.0."""
        created = raw.get("created_at")
        return cls(
            id=raw["id"],
            name=raw.get("name") or "",
            project_id=raw.get("project_id") or raw.get("tenant_id") or "",
            network_id=raw["network_id"],
            mac=(raw.get("mac_address") or "").lower(),
            fixed_ips=tuple(
                FixedIp(item["subnet_id"], ip_address(item["ip_address"]))
                for item in raw.get("fixed_ips") or ()
            ),
            address_pairs=tuple(
                AddressPair(item["ip_address"], (item.get("mac_address") or "").lower())
                for item in raw.get("allowed_address_pairs") or ()
            ),
            tags=frozenset(raw.get("tags") or ()),
            revision=int(raw.get("revision_number") or 0),
            device_id=raw.get("device_id") or "",
            device_owner=raw.get("device_owner") or "",
            created_at=datetime.fromisoformat(created.replace("Z", "+00:00")) if created else None,
            port_security=bool(raw.get("port_security_enabled", True)),
        )


@dataclass(frozen=True, slots=True)
class Subnet:
    """A Neutron subnet: what a pod needs to know of it, and where addresses may be picked."""

    id: str
    name: str
    network_id: str
    cidr: IPNetwork
    gateway: IPAddress | None
    pools: tuple[tuple[IPAddress, IPAddress], ...]
    dns_servers: tuple[str, ...]
    host_routes: tuple[tuple[IPNetwork, IPAddress], ...]
    automatic: bool = False
    """Addresses come from the port's MAC (SLAAC): Neutron refuses to be asked for one."""

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.cidr.version

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"subnet": ...}`."""
        gateway = raw.get("gateway_ip")
        return cls(
            id=raw["id"],
            name=raw.get("name") or "",
            network_id=raw["network_id"],
            cidr=ip_network(raw["cidr"]),
            gateway=ip_address(gateway) if gateway else None,
            pools=tuple(
                (ip_address(pool["start"]), ip_address(pool["end"]))
                for pool in raw.get("allocation_pools") or ()
            ),
            dns_servers=tuple(raw.get("dns_nameservers") or ()),
            host_routes=tuple(
                (ip_network(route["destination"]), ip_address(route["nexthop"]))
                for route in raw.get("host_routes") or ()
            ),
            automatic=raw.get("ipv6_address_mode") in ("slaac", "dhcpv6-stateless"),
        )


@dataclass(frozen=True, slots=True)
class Network:
    """A Neutron network; `mtu` in bytes, None where the cloud does not tell (net-mtu)."""

    id: str
    name: str
    mtu: int | None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"network": ...}`."""
        return cls(id=raw["id"], name=raw.get("name") or "", mtu=raw.get("mtu") or None)


@dataclass(frozen=True, slots=True)
class Quota:
    """Ports of a project: `limit` -1 means none; `used` includes reserved."""

    limit: int
    used: int

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return 0 <= self.limit <= self.used

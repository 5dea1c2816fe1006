"""Neutron's and Nova's objects as far as we use them: frozen values, read once from JSON at the
edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import ip_network
from typing import Any, Self

from neutron_cni.openstack.shapes import (
    Odd,
    a_text,
    address,
    an_id,
    flag,
    mapping,
    moment,
    network,
    number,
    objects,
    text,
    texts,
)
from neutron_cni.values.address import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address of a port and the subnet it is from."""

    subnet_id: str
    address: IPAddress

    @classmethod
    def list_from(cls, raw: Mapping[str, Any]) -> tuple[Self, ...]:
        """The `fixed_ips` of a port. Without them it is no port: we would send a list without
        those that the VM itself has."""
        return tuple(
            cls(an_id(item, "subnet_id"), address(item, "ip_address"))
            for item in objects(raw, "fixed_ips")
        )

    def to_json(self) -> dict[str, str]:
        """Both keys are sent: an entry with a subnet only would reuse any address of the port."""
        return {"subnet_id": self.subnet_id, "ip_address": str(self.address)}


@dataclass(frozen=True, slots=True)
class FloatingIp:
    """A floating IP's own address, as Neutron writes it, and the one that it points at."""

    address: str
    points_at: IPAddress | None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """A floating IP; it may point nowhere."""
        pointing = raw.get("fixed_ip_address") is not None
        return cls(
            text(raw, "floating_ip_address"),
            address(raw, "fixed_ip_address") if pointing else None,
        )


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

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """An item of `allowed_address_pairs`."""
        given = a_text(raw.get("ip_address"), "ip_address")
        try:
            ip_network(given, strict=False)
        except ValueError:
            raise Odd("`ip_address` of a pair is no address and no CIDR") from None
        return cls(given, text(raw, "mac_address").lower())

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
    dns_name: str = ""
    """The name that all of its addresses resolve by, where the cloud's DNS does that (`dns`)."""
    description: str = ""
    security_groups: frozenset[str] = frozenset()
    """Ids."""
    up: bool = True
    """What an operator may have set, not whether it works (`admin_state_up`)."""
    qos_policy: str = ""
    """The port's own, empty where it has that of its network or none."""

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """All addresses of the port; Neutron's list has no meaningful order."""
        return frozenset(item.address for item in self.fixed_ips)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"port": ...}` of the Networking API v2.0. Raises Odd."""
        return cls(
            id=an_id(raw, "id"),
            name=text(raw, "name"),
            project_id=text(raw, "project_id") or text(raw, "tenant_id"),
            network_id=an_id(raw, "network_id"),
            mac=text(raw, "mac_address").lower(),
            fixed_ips=FixedIp.list_from(raw),
            address_pairs=tuple(
                AddressPair.from_json(item)
                for item in objects(raw, "allowed_address_pairs", optional=True)
            ),
            tags=frozenset(texts(raw, "tags")),
            revision=number(raw, "revision_number"),
            device_id=text(raw, "device_id"),
            device_owner=text(raw, "device_owner"),
            created_at=moment(raw, "created_at"),
            port_security=bool(raw.get("port_security_enabled", True)),
            dns_name=text(raw, "dns_name"),
            description=text(raw, "description"),
            security_groups=frozenset(texts(raw, "security_groups")),
            up=raw.get("admin_state_up") is not False,
            qos_policy=text(raw, "qos_policy_id"),
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
    service_types: tuple[str, ...] = ()
    """Only ports whose `device_owner` is one of these get addresses; empty: all do."""
    segment_id: str = ""
    """The segment of a routed provider network that has it; empty on other networks."""
    routers: tuple[IPAddress, ...] = ()
    """Routers besides those of `gateway` and `host_routes`."""
    dhcp: bool = False
    """The cloud's DHCP gives its addresses to whoever asks."""

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.cidr.version

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"subnet": ...}`. Raises Odd."""
        return cls(
            id=an_id(raw, "id"),
            name=text(raw, "name"),
            network_id=an_id(raw, "network_id"),
            cidr=network(raw, "cidr"),
            gateway=address(raw, "gateway_ip") if raw.get("gateway_ip") else None,
            pools=tuple(
                (address(pool, "start"), address(pool, "end"))
                for pool in objects(raw, "allocation_pools", optional=True)
            ),
            dns_servers=texts(raw, "dns_nameservers"),
            host_routes=tuple(
                (network(route, "destination"), address(route, "nexthop"))
                for route in objects(raw, "host_routes", optional=True)
            ),
            automatic=raw.get("ipv6_address_mode") in ("slaac", "dhcpv6-stateless"),
            service_types=texts(raw, "service_types"),
            segment_id=text(raw, "segment_id"),
            dhcp=raw.get("enable_dhcp") is True,
        )


@dataclass(frozen=True, slots=True)
class Network:
    """A Neutron network; `mtu` in bytes, None where the cloud does not tell (net-mtu).

    `port_security`: whether its new ports have it.
    """

    id: str
    name: str
    mtu: int | None
    port_security: bool = True

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"network": ...}`. Raises Odd."""
        return cls(
            an_id(raw, "id"),
            text(raw, "name"),
            number(raw, "mtu") or None,
            bool(raw.get("port_security_enabled", True)),
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """Ports of a project: `limit` -1 means none; `used` includes reserved."""

    limit: int
    used: int

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"quota": {"port": ...}}` with its details. Raises Odd."""
        for key in ("limit", "used"):
            if key not in raw:
                raise Odd(f"it has no `{key}`")
        return cls(number(raw, "limit"), number(raw, "used") + number(raw, "reserved"))

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return 0 <= self.limit <= self.used


@dataclass(frozen=True, slots=True)
class Server:
    """A Nova server: a VM, or a bare-metal machine. Empty is what the cloud does not tell."""

    id: str
    status: str
    """For people: "ACTIVE"."""
    vm_state: str
    """What Nova goes by: "active"."""
    task_state: str
    """The task under way, during which Nova changes no NIC; empty where there is none."""
    locked: bool
    """Whether only an administrator may change it."""
    extra_specs: Mapping[str, str]
    """Of its flavor: what the hypervisor is told besides, by names like "hw:mem_page_size"."""

    @property
    def takes_nics(self) -> bool:
        """Whether Nova would attach and detach now, as far as it tells."""
        state = self.vm_state or "active"
        return state in ("active", "paused", "stopped") and not (self.task_state or self.locked)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"server": ...}` of the Compute API 2.51. Raises Odd."""
        flavor = mapping(raw.get("flavor", {}), "`flavor`")
        specs = mapping(flavor.get("extra_specs", {}), "`extra_specs`")
        return cls(
            id=an_id(raw, "id"),
            status=text(raw, "status"),
            vm_state=text(raw, "OS-EXT-STS:vm_state"),
            task_state=text(raw, "OS-EXT-STS:task_state"),
            locked=flag(raw, "locked"),
            extra_specs={a_text(key, "extra_specs"): text(specs, key) for key in specs},
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """A port that is attached to a server, as Nova shows it. `state` is the port's: "ACTIVE"."""

    port_id: str
    network_id: str
    mac: str
    state: str
    addresses: tuple[IPAddress, ...]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From the object inside `{"interfaceAttachment": ...}`. Raises Odd."""
        return cls(
            port_id=an_id(raw, "port_id"),
            network_id=an_id(raw, "net_id"),
            mac=text(raw, "mac_addr").lower(),
            state=text(raw, "port_state"),
            addresses=tuple(
                address(item, "ip_address") for item in objects(raw, "fixed_ips", optional=True)
            ),
        )


class Outcome(Enum):
    """How far Nova is with an action that it accepted."""

    RUNNING = "running"
    """Or the cloud does not tell."""
    DONE = "done"
    FAILED = "failed"

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Outcome:
        """From the object inside `{"instanceAction": ...}`. Raises Odd."""
        an_id(raw, "request_id")
        events = objects(raw, "events", optional=True)
        if text(raw, "message") == "Error" or any(text(e, "result") == "Error" for e in events):
            return cls.FAILED
        ended = bool(events) and all(text(event, "finish_time") for event in events)
        return cls.DONE if ended else cls.RUNNING

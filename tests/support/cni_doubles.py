"""Stand-ins for Neutron and the kernel that write down every change they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any

from neutron_cni.cni.request import Request
from neutron_cni.engine.engine import Engine
from neutron_cni.engine.parts import Parts
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Interface, IPConfig, Result

LEASE = Lease(
    addresses=(
        LeasedAddress(ip_interface("10.10.0.19/20"), ip_address("10.10.0.1")),
        LeasedAddress(ip_interface("fd00::19/64"), ip_address("fd00::1")),
    ),
    mtu=1442,
    port_id="11111111-2222-3333-4444-555555555555",
)

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "0123456789abcdef",
    "CNI_NETNS": "/run/netns/pod",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1",
}

CONFIG: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "pods",
    "type": "veth-route",
    "ipam": {"type": "cni-ipam-neutron", "mode": "fixed-ips", "cloud": "lab"},
}


def environment(command: str = "ADD", **changes: str) -> dict[str, str]:
    """A valid environment for `command`; an empty change takes a variable away."""
    merged = {**ENVIRONMENT, "CNI_COMMAND": command, **changes}
    return {key: value for key, value in merged.items() if value}


def stdin(**changes: Any) -> bytes:
    """A valid configuration; a change to None takes a key away. `ipam` is merged."""
    merged = {**CONFIG, **changes}
    if isinstance(changes.get("ipam"), dict):
        merged["ipam"] = {**CONFIG["ipam"], **changes["ipam"]}
    return json.dumps({key: value for key, value in merged.items() if value is not None}).encode()


@dataclass
class FakeIpam:
    """Holds leases in memory. `fail` makes the named method raise."""

    leases: dict[tuple[str, str, str], Lease] = field(default_factory=dict)
    fail: dict[str, BaseException] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What STATUS says besides."""
    lease: Lease = LEASE
    """What `acquire` gives."""
    announced: list[Announcement] = field(default_factory=list)
    """What is to be sent again."""

    def acquire(self, request: IpamRequest) -> Lease:
        self._maybe_fail("acquire")
        if self._key(request) not in self.leases:
            self.changes.append("acquire")
            self.leases[self._key(request)] = self.lease
        return self.leases[self._key(request)]

    def lookup(self, request: IpamRequest) -> Lease | None:
        return self.leases.get(self._key(request))

    def attached(self, request: IpamRequest, sent: Sequence[Announcement]) -> Lease | None:
        self._maybe_fail("attached")
        self.announced += sent
        return self.lookup(request)

    def await_network(
        self, request: IpamRequest, lease: Lease, ask: Callable[[Lease, Deadline], bool]
    ) -> None:
        ask(lease, request.deadline)

    def release(self, request: IpamRequest, used: bool = True) -> None:
        self._maybe_fail("release")
        if self.leases.pop(self._key(request), None):
            self.changes.append("release" if used else "release unused")

    def verify(self, request: IpamRequest) -> list[str]:
        self._maybe_fail("verify")
        return self.differences

    def status(self, config: IpamConfig, deadline: Deadline) -> list[str]:
        self._maybe_fail("status")
        return self.notes

    def all_held(self, network: str, config: IpamConfig, deadline: Deadline) -> list[Lease]:
        self._maybe_fail("all_held")
        return [lease for key, lease in self.leases.items() if key[0] == network]

    def collect(
        self, network: str, config: IpamConfig, keep: Collection[Attachment], deadline: Deadline
    ) -> None:
        self._maybe_fail("collect")
        kept = {(network, item.container_id, item.ifname) for item in keep}
        for key in [key for key in self.leases if key[0] == network and key not in kept]:
            self.changes.append("collect")
            del self.leases[key]

    def _maybe_fail(self, method: str) -> None:
        if method in self.fail:
            raise self.fail[method]

    @staticmethod
    def _key(request: IpamRequest) -> tuple[str, str, str]:
        return request.network, request.attachment.container_id, request.attachment.ifname


@dataclass
class FakeKernel:
    """One namespace, /run/netns/pod, and the links in it by name, each with its maker."""

    links: dict[str, str] = field(default_factory=dict)
    fail: dict[str, BaseException] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    awaited: list[Lease] = field(default_factory=list)
    """For whose packets to pass ADD waited."""
    brought_back: list[Lease] = field(default_factory=list)
    """Of which leases STATUS looked after what the node does for them."""
    defaults: frozenset[int] = frozenset()
    """Of which IP versions another interface of the pod has the default route."""


@dataclass
class FakeDataPlane:
    """The data plane of one request on the kernel double."""

    kernel: FakeKernel
    request: Request
    exposed: bool = False
    announced: tuple[Announcement, ...] = ()

    def inspect(self) -> bool:
        self._maybe_fail("inspect")
        if self.request.attachment.netns != "/run/netns/pod":
            raise CniError(Code.INVALID_ENVIRONMENT, "CNI_NETNS: no such network namespace")
        maker = self.kernel.links.get(self.request.attachment.ifname)
        if maker not in (None, self.request.attachment.container_id):
            raise CniError(Code.CONFLICT, f"{self.request.attachment.ifname} exists already")
        return maker is not None

    def ready(self) -> None:
        self._maybe_fail("ready")

    def bring_back(self, leases: Sequence[Lease]) -> None:
        self._maybe_fail("bring_back")
        self.kernel.brought_back = list(leases)

    def attach(self, lease: Lease, deadline: Deadline) -> Result:
        self._maybe_fail("plan")
        self.exposed = True
        name = self.request.attachment.ifname
        if name not in self.kernel.links:
            self.kernel.changes.append("attach")
        self.kernel.links[name] = self.request.attachment.container_id
        self._maybe_fail("attach")
        self.announced = tuple(
            Announcement(Side.HOST, "ens3", item.address.ip) for item in lease.addresses
        )
        return Result(
            interfaces=(
                Interface("vethabcd", "02:00:00:00:00:01", 1442),
                Interface(name, "02:00:00:00:00:02", 1442, self.request.attachment.netns),
            ),
            ips=tuple(IPConfig(item.address, item.gateway, 1) for item in lease.addresses),
        )

    def await_network(self, lease: Lease, deadline: Deadline) -> bool:
        self._maybe_fail("await_network")
        self.kernel.awaited.append(lease)
        return True

    def detach(self, lease: Lease | None) -> None:
        self._maybe_fail("detach")
        attachment = self.request.attachment
        if self.kernel.links.get(attachment.ifname) == attachment.container_id:
            self.kernel.changes.append("detach")
            del self.kernel.links[attachment.ifname]

    def differences(self, lease: Lease) -> list[str]:
        return self.kernel.broken

    def defaults(self) -> frozenset[int]:
        self._maybe_fail("defaults")
        return self.kernel.defaults

    def collect(self) -> None:
        self._maybe_fail("collect")
        kept = {item.container_id for item in self.request.valid}
        for name in [name for name, maker in self.kernel.links.items() if maker not in kept]:
            self.kernel.changes.append("collect")
            del self.kernel.links[name]

    def _maybe_fail(self, method: str) -> None:
        if method in self.kernel.fail:
            raise self.kernel.fail[method]


@dataclass
class World:
    """Both doubles, and the engine over them."""

    ipam: FakeIpam = field(default_factory=FakeIpam)
    kernel: FakeKernel = field(default_factory=FakeKernel)
    notes: list[str] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return Engine(
            Parts(
                lambda: self.ipam,
                lambda request: FakeDataPlane(self.kernel, request),
                self.notes.append,
            )
        )

    @property
    def state(self) -> tuple[dict[Any, Any], dict[str, str]]:
        """What is held now."""
        return dict(self.ipam.leases), dict(self.kernel.links)

    @property
    def changes(self) -> list[str]:
        """All changes so far."""
        return self.ipam.changes + self.kernel.changes

"""What a plugin answers: the CNI result, read from and written in every supported version.

Shapes follow "Section 5: Result Types" of the CNI specification. Inside the program there is
one shape, that of 1.1.0; older ones exist only at the edge, in `to_json` and `from_json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork


@dataclass(frozen=True, slots=True)
class Interface:
    """A link that a plugin made; `sandbox` is a netns path, empty for the host's."""

    name: str
    mac: str = ""
    mtu: int | None = None
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address ("10.0.0.5/24"), its gateway, and the index of its link in `interfaces`."""

    address: IPInterface
    gateway: IPAddress | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the sandbox; without `gateway` the plugin's default gateway is meant."""

    destination: IPNetwork
    gateway: IPAddress | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Resolver settings, as in resolv.conf(5)."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to ADD. An IPAM result has no interfaces."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = field(default_factory=Dns)

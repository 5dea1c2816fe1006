"""What a plugin answers to ADD: the CNI result.

Shapes follow "Section 5: Result Types" of the CNI specification. Inside the program there is
one shape, that of 1.1.0; `cni.codec` reads and writes the older ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork


@dataclass(frozen=True, slots=True)
class Interface:
    """A link that a plugin made. `sandbox` is the path of its netns, empty for a link of the node.

    `mtu` is in bytes.
    """

    name: str
    mac: str = ""
    mtu: int | None = None
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address ("10.0.0.5/24"), its gateway, and the index of its link in `Result.interfaces`."""

    address: IPInterface
    gateway: IPAddress | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the sandbox; without `gateway` it goes by the plugin's default gateway.

    `mtu` is in bytes.
    """

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

"""IP addresses of either version: names for the types of the standard library's `ipaddress`."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

IPAddress = IPv4Address | IPv6Address
"""One address, "10.0.0.5"."""
IPInterface = IPv4Interface | IPv6Interface
"""An address with the prefix length of its subnet, "10.0.0.5/24"."""
IPNetwork = IPv4Network | IPv6Network
"""A network without host bits, "10.0.0.0/24"."""


def on_every_link(address: IPAddress) -> bool:
    """Whether it is an IPv6 link-local address: routers have one, whatever the subnet is."""
    return address.version == 6 and address.is_link_local


def anywhere(version: int) -> IPNetwork:
    """The destination of the default route of an IP version (4 or 6)."""
    return IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")

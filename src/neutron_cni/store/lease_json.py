"""A lease as the text in the store's column `answer`, and back."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec

from neutron_cni.values.address import IPAddress
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Dns, Route


def lease_to_json(lease: Lease) -> str:
    """The lease as the text that the store keeps."""
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
            "nic_mac": lease.nic_mac,
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
        nic_mac=raw.get("nic_mac", ""),  # Leases of version 0.1.0 have none.
    )


def _optional(text: str) -> IPAddress | None:
    return ip_address(text) if text else None

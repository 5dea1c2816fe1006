"""The list of allowed address pairs of a VM's port: which addresses it lets through. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neutron_cni.ipam.modes.contract import Finding, Kind
from neutron_cni.openstack.types import AddressPair, Port
from neutron_cni.store import Record
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code


def judge_pairs(leases: Sequence[Record], port: Port) -> list[Finding]:
    """Each address of a held lease must be let through. Pure."""
    let_through = own_pairs(port)
    return [
        Finding(
            Kind.MISSING,
            (item.address,),
            f"{record}: not on the VM's port {port.id}, so its traffic is dropped",
            f"{item.address} is not among the allowed address pairs of the VM's port {port.id}",
            record.id,
            mendable=True,
        )
        for record in leases
        for item in record.addresses
        if item.address not in let_through
    ]


def single_addresses(port: Port) -> set[IPAddress]:
    """The single addresses among the port's pairs; CIDR pairs are an operator's."""
    return _singles(port.address_pairs)


def own_pairs(port: Port) -> set[IPAddress]:
    """The addresses that are let through with the port's own MAC, as ours are.

    A pair with another MAC is somebody else's, such as a VRRP router's, also of the same address.
    """
    return _singles(pair for pair in port.address_pairs if pair.mac in ("", port.mac))


def _singles(pairs: Iterable[AddressPair]) -> set[IPAddress]:
    return {pair.single for pair in pairs if pair.single is not None}


def why_no_pairs(port: Port) -> CniError | None:
    """Why this port can't have pairs at all, None when it can."""
    if port.port_security:
        return None
    return CniError(
        Code.INVALID_CONFIG,
        f"port security is off on port {port.id}, and Neutron gives such a port no address pairs",
        "use mode fixed-ips, which needs no port security, or switch it on for this port",
    )

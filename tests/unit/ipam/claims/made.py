"""Claims as these tests make them."""

from __future__ import annotations

from ipaddress import ip_address

from neutron_cni.ipam.claim import Claim

INSTALL = "5844f7"


def claim(number: int, install: str = INSTALL) -> Claim:
    return Claim(ip_address("10.100.100.100") + number, install, f"{number:08x}")


def claims(*numbers: int) -> frozenset[Claim]:
    return frozenset(map(claim, numbers))

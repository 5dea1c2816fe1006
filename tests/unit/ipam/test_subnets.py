"""Which subnets a pod's addresses come from when none are configured."""

from __future__ import annotations

from ipaddress import ip_network

from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.types import Network, Subnet
from neutron_cni.values.ipam_config import IpamConfig


def subnet(name: str, cidr: str, mode: str | None = None) -> Subnet:
    """As Neutron's API gives it."""
    raw = {"id": name, "network_id": "n", "cidr": cidr, "ipv6_address_mode": mode}
    return Subnet.from_json(raw)


def test_a_slaac_subnet_is_not_asked_for_addresses() -> None:
    four, slaac = subnet("v4", "10.0.0.0/24"), subnet("v6", "fd00::/64", "slaac")
    network = PodNetwork(Network("n", "n", 1500), (four, slaac))
    assert ip_network("fd00::/64") == slaac.cidr
    assert network.offered(IpamConfig(type="cni-ipam-neutron"), ["v4", "v6"]) == [four]


def test_an_ordinary_ipv6_subnet_is_asked() -> None:
    six = subnet("v6", "fd00::/64")
    network = PodNetwork(Network("n", "n", 1500), (six,))
    assert network.offered(IpamConfig(type="cni-ipam-neutron"), ["v6"]) == [six]

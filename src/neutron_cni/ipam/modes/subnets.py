"""What the subnets of a network give to a pod, and which of them to take addresses from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Network, Subnet
from neutron_cni.store import PortAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Dns, Route


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A Neutron network and its subnets, as they are now."""

    network: Network
    subnets: tuple[Subnet, ...]

    @property
    def id(self) -> str:
        """The network's id."""
        return self.network.id

    def by_id(self, subnet_id: str) -> Subnet:
        """Raises CniError NOT_FOUND when the subnet was deleted under us."""
        for subnet in self.subnets:
            if subnet.id == subnet_id:
                return subnet
        raise CniError(
            Code.NOT_FOUND,
            f"subnet {subnet_id} is not on network {self.network.id} any more",
            "was it deleted while pods used it?",
        )

    def offered(self, config: IpamConfig, home: Iterable[str]) -> list[Subnet]:
        """The subnets to try, in order: the configured ones, else those in `home` (ids).

        SLAAC subnets are never home: every port of their network has an address there unasked.
        """
        if not config.subnets:
            ids = list(dict.fromkeys(home))
            return [item for item in self.subnets if item.id in ids and not item.automatic]
        return [self._named(name) for name in config.subnets]

    def _named(self, name_or_id: str) -> Subnet:
        found = [item for item in self.subnets if name_or_id in (item.id, item.name)]
        if len(found) == 1:
            return found[0]
        have = ", ".join(sorted(item.name or item.id for item in self.subnets)) or "none"
        raise CniError(
            Code.NOT_FOUND,
            f"network {self.network.name or self.network.id} has "
            f"{len(found) or 'no'} subnets named {name_or_id} (it has: {have})",
            "check `subnets` in the ipam section; an id is always unambiguous",
        )

    def lease(
        self, addresses: Sequence[PortAddress], port_id: str, announce: bool, nic_mac: str = ""
    ) -> Lease:
        """Everything the subnets know, for a pod with these addresses (`Lease` has the rest)."""
        subnets = [self.by_id(item.subnet_id) for item in addresses]
        leased = tuple(
            LeasedAddress(
                ipaddress.ip_interface(f"{item.address}/{subnet.cidr.prefixlen}"),
                subnet.gateway,
                subnet.id,
            )
            for item, subnet in zip(addresses, subnets, strict=True)
        )
        distinct = list({subnet.id: subnet for subnet in subnets}.values())
        return Lease(
            addresses=leased,
            routes=tuple(route for subnet in distinct for route in _routes(subnet)),
            dns=Dns(tuple(dict.fromkeys(s for subnet in distinct for s in subnet.dns_servers))),
            mtu=self.network.mtu,
            port_id=port_id,
            announce=announce,
            nic_mac=nic_mac,
        )


def read_pod_network(neutron: Neutron, network_id: str) -> PodNetwork:
    """The network with its subnets: two calls."""
    return PodNetwork(neutron.network(network_id), tuple(neutron.subnets(network_id)))


def _routes(subnet: Subnet) -> list[Route]:
    """The default route through the subnet's gateway, and its host routes."""
    routes = [Route(destination, via) for destination, via in subnet.host_routes]
    if subnet.gateway is not None:
        anywhere = ipaddress.ip_network("0.0.0.0/0" if subnet.version == 4 else "::/0")
        routes.insert(0, Route(anywhere, subnet.gateway))
    return routes

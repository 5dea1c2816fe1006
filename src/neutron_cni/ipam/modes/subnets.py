"""What the subnets of a network give to a pod, and which of them to take addresses from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neutron_cni.ipam.choose import Offer, named
from neutron_cni.ipam.modes.configured_routes import (
    gateway_of,
    is_default,
    require_routers,
    with_configured,
)
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import FixedIp, Network, Subnet
from neutron_cni.store import PortAddress
from neutron_cni.values.address import IPNetwork, anywhere
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Dns, Route


@dataclass(frozen=True, slots=True)
class Holder:
    """The port that is to have the addresses, as far as it decides which subnets can serve it.

    `device_owner`: what a subnet's service types are compared with. `segments`: those of a routed
    provider network that its host is on, empty where it has no host. `named`: whether we name
    its addresses, which a subnet that makes them of MACs does not let us do.
    """

    device_owner: str
    segments: frozenset[str] = frozenset()
    named: bool = True


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

    def offered(self, config: IpamConfig, home: Iterable[str], holder: Holder) -> Offer:
        """The subnets to try, in order: the configured ones, else those in `home` (ids).

        Those that can't serve `holder` are left out. Raises CniError where none is left; of the
        configured ones, where none of an IP version is: pods would lack addresses of it, unsaid;
        and where a configured router is in none of them, which no pod would reach.
        """
        if config.subnets:
            candidates = [self._named(name) for name in config.subnets]
        else:
            ids = set(home)
            candidates = [item for item in self.subnets if item.id in ids]
        reasons = {item: _unfit(item, holder, bool(config.subnets)) for item in candidates}
        fit = tuple(item for item, why in reasons.items() if not why)
        left_out = {item: f"{named(item)} {why}" for item, why in reasons.items() if why}
        lacking = {s.version for s in candidates} - {s.version for s in fit}
        if not fit or (config.subnets and lacking):
            why_none = [why for item, why in left_out.items() if item.version in lacking]
            raise none_fits(self.network.name or self.id, why_none)
        require_routers(config, fit)
        return Offer(tuple(with_configured(item, config) for item in fit), tuple(left_out.values()))

    def segments_of(self, fixed_ips: Iterable[FixedIp]) -> frozenset[str]:
        """The segments of a routed provider network that these addresses are on."""
        ids = {item.subnet_id for item in fixed_ips}
        return frozenset(s.segment_id for s in self.subnets if s.id in ids and s.segment_id)

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
        self,
        config: IpamConfig,
        addresses: Sequence[PortAddress],
        port_id: str,
        nic_mac: str = "",
    ) -> Lease:
        """Everything the subnets and `config` know, for a pod with these addresses (`Lease` has the
        rest)."""
        subnets = [with_configured(self.by_id(item.subnet_id), config) for item in addresses]
        leased = tuple(
            LeasedAddress(
                ipaddress.ip_interface(f"{item.address}/{subnet.cidr.prefixlen}"),
                gateway_of(subnet),
                subnet.id,
            )
            for item, subnet in zip(addresses, subnets, strict=True)
        )
        distinct = list({subnet.id: subnet for subnet in subnets}.values())
        routes: dict[IPNetwork, Route] = {}
        for route in (route for subnet in distinct for route in _routes(subnet)):
            # Of two to one destination the kernel refuses the second, and with it the whole ADD.
            routes.setdefault(route.destination, route)
        return Lease(
            addresses=leased,
            routes=tuple(routes.values()),
            dns=Dns(tuple(dict.fromkeys(s for subnet in distinct for s in subnet.dns_servers))),
            mtu=self.network.mtu,
            port_id=port_id,
            nic_mac=nic_mac,
        )


def read_pod_network(neutron: Neutron, network_id: str) -> PodNetwork:
    """The network with its subnets: two calls."""
    return PodNetwork(neutron.network(network_id), tuple(neutron.subnets(network_id)))


def configured_network(neutron: Neutron, config: IpamConfig) -> PodNetwork:
    """The network that the configuration names. Raises CniError."""
    if not config.network:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mode `{config.mode}` needs `network`, the Neutron network to take addresses from",
            "add it to the ipam section, by name or id",
        )
    return read_pod_network(neutron, neutron.network(config.network).id)


def none_fits(network: str, left_out: Sequence[str]) -> CniError:
    """The error where no subnet on offer can serve; `left_out`: which, and why."""
    if not left_out:
        return CniError(
            Code.NOT_FOUND,
            f"network {network} has no subnet to take an address from",
            "make one, or name subnets in the ipam section",
        )
    return CniError(
        Code.INVALID_CONFIG,
        f"no subnet of network {network} can give addresses to pods: {', '.join(left_out)}",
        "make one for the pods, and name it in `subnets`",
    )


def _unfit(subnet: Subnet, holder: Holder, asked_for: bool) -> str:
    """Why a subnet can't serve a port, as the end of a sentence; empty where it can.

    What Neutron 29 refuses: a port whose owner is none of the subnet's service types, an address on
    another segment than the port's host, one named in a SLAAC subnet. Every port of a network has
    an address of its SLAAC subnets unasked, so they only count where they are asked for.
    """
    if subnet.service_types and holder.device_owner not in subnet.service_types:
        return f"serves {' and '.join(subnet.service_types)} only"
    if subnet.segment_id and holder.segments and subnet.segment_id not in holder.segments:
        return f"is on segment {subnet.segment_id}, and the VM's port is not"
    if subnet.automatic and (holder.named or not asked_for):
        return "makes addresses of MACs (SLAAC)"
    return ""


def _routes(subnet: Subnet) -> list[Route]:
    """The default route, and the subnet's host routes; no destination twice."""
    gateway = gateway_of(subnet)
    routes = [Route(to, via) for to, via in subnet.host_routes if not is_default(to)]
    if gateway is not None:
        routes.insert(0, Route(anywhere(subnet.version), gateway))
    return routes

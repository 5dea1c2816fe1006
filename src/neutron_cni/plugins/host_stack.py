"""Which networks pods reach by their node, and which they must not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.plugins.veth_host_config import Config
from neutron_cni.values.address import IPNetwork
from neutron_cni.values.errors import CniError, Code


def require_apart(config: Config, others: Iterable[IPNetwork], what: str) -> None:
    """Raise CniError INVALID_CONFIG if a network by the node overlaps one of `others`, which `what`
    names in words.

    A single address of `hostStackCIDRs` may be in a network: a service's virtual IP, which every
    node translates, wherever it is at the moment.
    """
    known = list(others)
    for key, networks in (
        ("serviceCIDRs", config.services()),
        ("hostStackCIDRs", config.host_stack()),
    ):
        for network in networks:
            for other in known:
                if not (network.version == other.version and network.overlaps(other)):
                    continue
                if key == "hostStackCIDRs" and network.num_addresses == 1 < other.num_addresses:
                    continue
                raise CniError(
                    Code.INVALID_CONFIG,
                    f"{key} has {network}, which overlaps {what}, {other}",
                    "pods would send to their node what is for others: correct it",
                )


def destinations(config: Config, facts: HostFacts) -> list[IPNetwork]:
    """What the pod reaches by its node, without what is part of something else: a node with IPVS
    has the address of every service."""
    wanted = [*config.services(), *config.host_stack(), *map(ip_network, facts.addresses)]
    return [
        item
        for item in dict.fromkeys(wanted)
        if not any(
            other != item and other.version == item.version and item.subnet_of(other)  # type: ignore[arg-type]
            for other in wanted
        )
    ]


def changing(facts: HostFacts) -> set[IPNetwork]:
    """The node's addresses that may come and go while pods run: docker0's, temporary ones of IPv6,
    those that keepalived moves. CHECK does not ask for the routes to them, or one more would
    fail every pod of the node. The first of the uplink stays."""
    own = facts.uplink.addresses if facts.uplink else ()
    first = next((item.ip for item in own if item.version == 4), None)
    return {ip_network(ip) for ip in facts.addresses if ip != first}

"""veth-host's own keys of the network configuration."""

from __future__ import annotations

import re
from ipaddress import ip_network

import msgspec

from neutron_cni.netlink.plan import MAX_LINK_NAME
from neutron_cni.values.address import IPNetwork


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """veth-host's own keys of the network configuration.

    `service_cidrs`: the cluster's service networks, of each IP version that it has one of, such as
    ["10.96.0.0/12"]; required. `neutron-cni install --kubeconfig` reads them from the cluster.
    `host_stack_cidrs`: further networks that the pod reaches by its node's stack: metadata service
    and node-local DNS.
    `veth_name`: the name of the interface in the pod.
    `host_interface`: the node's uplink; default: the one in `ipam`, else the NIC of the default
    route.
    `host_forwarding`: also switch forwarding on for the whole node, not just for the links used.
    """

    service_cidrs: tuple[str, ...] = msgspec.field(name="serviceCIDRs", default=())
    host_stack_cidrs: tuple[str, ...] = msgspec.field(
        name="hostStackCIDRs", default=("169.254.169.254/32", "169.254.20.10/32")
    )
    veth_name: str = "veth0"
    host_interface: str | None = None
    host_forwarding: bool = False

    def __post_init__(self) -> None:
        for key, given in (
            ("serviceCIDRs", self.service_cidrs),
            ("hostStackCIDRs", self.host_stack_cidrs),
        ):
            for text in given:
                _require_network(key, text)
        if not re.fullmatch(rf"(?!\.)[\w.-]{{1,{MAX_LINK_NAME}}}", self.veth_name, re.ASCII):
            raise ValueError(
                f"vethName must have 1 to {MAX_LINK_NAME} letters, digits, '_', '.' or '-'"
            )
        if self.veth_name in ("all", "default", "lo"):
            raise ValueError(f"vethName must not be {self.veth_name}, which is the kernel's")

    def services(self) -> list[IPNetwork]:
        """`service_cidrs` as networks."""
        return [ip_network(item) for item in self.service_cidrs]

    def host_stack(self) -> list[IPNetwork]:
        """`host_stack_cidrs` as networks."""
        return [ip_network(item) for item in self.host_stack_cidrs]


def _require_network(key: str, text: str) -> None:
    """Raise ValueError, with the key, unless `text` is a CIDR of less than everything."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{key} must be networks such as 10.96.0.0/12: {error}") from None
    if "%" in text or not network.prefixlen:
        raise ValueError(f"{key} must be networks such as 10.96.0.0/12, not {text!r:.80}")

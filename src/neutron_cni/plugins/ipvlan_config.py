"""neutron-ipvlan's own keys of the network configuration."""

from __future__ import annotations

import msgspec

from neutron_cni.netlink.plan import IpvlanMode


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """neutron-ipvlan's own keys of the network configuration.

    `master`: the NIC of the node that the pods' links are children of; default: `hostInterface`,
    else the NIC whose Neutron port has the pod's address, or else that of the default route.
    `host_interface`: another name for it, which our IPAM has, too.
    `mode`: how the links pass packets on; all children of a NIC have the same.
    `mtu`: bytes; default, also with 0: the smaller of the Neutron network's and the NIC's.
    `default_route`: whether the pod's default route goes by this interface; default: if the pod has
    no other one.
    """

    master: str | None = None
    host_interface: str | None = None
    mode: IpvlanMode = IpvlanMode.L2
    mtu: int | None = None
    default_route: bool | None = None

    def __post_init__(self) -> None:
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise ValueError(f"mtu must be 68 to 65535 bytes, not {self.mtu}")
        if self.master and self.host_interface and self.master != self.host_interface:
            raise ValueError("master and hostInterface name two NICs: leave one of them out")

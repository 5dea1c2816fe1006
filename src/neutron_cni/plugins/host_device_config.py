"""host-device-plus's own keys of the network configuration."""

from __future__ import annotations

import re

import msgspec

from neutron_cni.netlink.nics import Selector
from neutron_cni.netlink.plan import MAX_LINK_NAME

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_PCI = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


class Config(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """host-device-plus's own keys of the network configuration.

    `device`: the NIC that the pod gets, by its name on the node, such as "ens4". One of this and
    the next three is required, and only one is allowed.
    `mac`: the same, by its MAC.
    `pci_bus_id`: the same, by its PCI address, such as "0000:00:05.0".
    `net_vfs`: the names of physical functions (SR-IOV), such as ["ens1f0"]: the pod gets one of
    their virtual functions that the node has.
    `mtu`: bytes; default, also with 0: the Neutron network's, else the one that the NIC has.
    `default_route`: whether the pod's default route goes by this interface; default: if the pod has
    no other one.
    """

    device: str | None = None
    mac: str | None = None
    pci_bus_id: str | None = msgspec.field(name="pciBusID", default=None)
    net_vfs: tuple[str, ...] | None = msgspec.field(name="netVFs", default=None)
    mtu: int | None = None
    default_route: bool | None = None

    def __post_init__(self) -> None:
        keys = {
            "device": self.device,
            "mac": self.mac,
            "pciBusID": self.pci_bus_id,
            "netVFs": self.net_vfs,
        }
        given = [key for key, value in keys.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each name a NIC: leave all but one out")
        if self.device is not None:
            _require_name("device", self.device)
        if self.mac is not None and not _MAC.fullmatch(self.mac):
            raise ValueError(f"mac must be one such as fa:16:3e:00:00:01, not {self.mac!r:.80}")
        if self.pci_bus_id is not None and not _PCI.fullmatch(self.pci_bus_id):
            raise ValueError(
                f"pciBusID must be one such as 0000:00:05.0, not {self.pci_bus_id!r:.80}"
            )
        if self.net_vfs is not None and not self.net_vfs:
            raise ValueError('netVFs must be names of NICs, such as ["ens1f0"]')
        for name in self.net_vfs or ():
            _require_name("netVFs", name)
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise ValueError(f"mtu must be 68 to 65535 bytes, not {self.mtu}")

    def selector(self) -> Selector | None:
        """Which NIC the configuration means; None if it names none."""
        found = Selector(
            name=self.device or "",
            mac=(self.mac or "").lower(),
            pci=(self.pci_bus_id or "").lower(),
            functions=self.net_vfs or (),
        )
        return None if found == Selector() else found


def _require_name(key: str, name: str) -> None:
    """Raise ValueError, with the key, unless the kernel takes `name` for a link's (no "/", ":"
    or blank in it)."""
    if not re.fullmatch(rf"[^\s/:]{{1,{MAX_LINK_NAME}}}", name) or name in (".", "..", "lo"):
        raise ValueError(f"{key} must be a NIC's name, such as ens4, not {name!r:.80}")

"""The IPAM modes. `MODES` is the only place that knows which there are.

Each has one page, a module of this package that keeps the contract in `contract.py`. To add a mode:
write its page, add its line to `MODES`, and its word to the enum `Mode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from neutron_cni.ipam.anchors import attachment_anchor, node_nics_anchor, vm_port_anchor
from neutron_cni.values.ipam_config import IpamConfig, Mode

if TYPE_CHECKING:
    from neutron_cni.ipam.modes.contract import ModePage


@dataclass(frozen=True, slots=True)
class ModeEntry:
    """What is known of a mode without its page, which imports all that talks to a cloud.

    A process whose request another one serves (most processes of a burst) never needs the page.
    """

    module: str
    """The page's name in this package."""
    anchor: Callable[[IpamConfig, str], str]
    """The anchor (see anchors.py) of a request with this configuration and attachment token."""
    needs_network: bool = False
    """Whether the configuration must name a Neutron network (`network`)."""
    mends: bool = True
    """Whether what somebody takes away in Neutron is put back while the pod lives."""

    @property
    def page(self) -> ModePage:
        """The page, imported now if it was not yet."""
        return cast("ModePage", import_module(f"{__name__}.{self.module}"))


MODES: Mapping[Mode, ModeEntry] = {
    Mode.FIXED_IPS: ModeEntry("fixed_ips", vm_port_anchor),
    Mode.ADDRESS_PAIRS: ModeEntry("address_pairs", vm_port_anchor),
    Mode.PORT: ModeEntry("port", attachment_anchor, needs_network=True),
    Mode.NOVA_INTERFACE: ModeEntry(
        "nova_interface", node_nics_anchor, needs_network=True, mends=False
    ),
}

"""The plugin types, and the pages that each type is made of.

A page is a module of pure functions (see `contract`): facts and values in, a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from neutron_cni.plugins.contract import Page


class Kind(Enum):
    """What a plugin type does in a chain of plugins."""

    MAIN = "makes the interface, and asks IPAM for its addresses"
    CHAINED = "adds to an interface that a plugin before it in the chain has made"
    IPAM = "gives addresses to a main plugin"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plugin type: its kind, and the modules of this package that are its parts, in order."""

    kind: Kind
    parts: tuple[str, ...] = ()

    def pages(self) -> tuple[Page, ...]:
        """The modules of the parts. They are imported only now, as a process serves one type."""
        return tuple(import_module(f"{__name__}.{part}") for part in self.parts)

    def schemas(self) -> tuple[type[msgspec.Struct], ...]:
        """For each of `pages`, the msgspec type of its own keys of the network configuration."""
        return tuple(page.Config for page in self.pages())


RECIPES: dict[str, Recipe] = {
    "veth-route": Recipe(Kind.MAIN, ("veth_route",)),
    "neutron-ipvlan": Recipe(Kind.MAIN, ("ipvlan", "veth_host")),
    "veth-host": Recipe(Kind.CHAINED, ("veth_host",)),
    "host-device-plus": Recipe(Kind.MAIN, ("host_device",)),
    "cni-ipam-neutron": Recipe(Kind.IPAM),
}
"""Every plugin type, by the name of its executable in the CNI bin folder."""

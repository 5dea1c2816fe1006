"""The plugin types: which there are, and the pages that each is made of.

A page is a pure module (see `contract`): facts and values in, a plan out.
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
    """What a runtime or another plugin asks of a type."""

    MAIN = "makes the interface, and asks IPAM for its addresses"
    CHAINED = "adds to an interface that a plugin before it in the chain has made"
    IPAM = "gives addresses to a main plugin"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plugin type: its kind, and the names of the modules here that are its parts, in order."""

    kind: Kind
    parts: tuple[str, ...] = ()

    def pages(self) -> tuple[Page, ...]:
        """The parts. Imported only now: a process does one call, of one type."""
        return tuple(import_module(f"{__name__}.{part}") for part in self.parts)

    def schemas(self) -> tuple[type[msgspec.Struct], ...]:
        """The parts' own keys of the network configuration, in the order of `pages`."""
        return tuple(page.Config for page in self.pages())


RECIPES: dict[str, Recipe] = {
    "veth-route": Recipe(Kind.MAIN, ("veth_route",)),
    "cni-ipam-neutron": Recipe(Kind.IPAM),
}
"""Every plugin type by the name of its executable in the CNI bin folder."""

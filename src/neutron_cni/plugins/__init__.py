"""One module per plugin type: its configuration and its plan. Here: which types there are."""

from __future__ import annotations

from enum import Enum

import msgspec


class Kind(Enum):
    """What a runtime or another plugin asks of a type."""

    MAIN = "makes the interface, and asks IPAM for its addresses"
    IPAM = "gives addresses to a main plugin"


KINDS = {"veth-route": Kind.MAIN, "cni-ipam-neutron": Kind.IPAM}
"""Every plugin type by the name of its executable in the CNI bin folder."""


class NoOptions(msgspec.Struct, frozen=True):
    """The configuration of a type whose options are all in the `ipam` section."""


def config_of(plugin: str) -> type[msgspec.Struct]:
    """The schema of the plugin's own options; `plugin` is one of KINDS."""
    if plugin == "veth-route":
        from neutron_cni.plugins.veth_route import VethRouteConfig

        return VethRouteConfig
    return NoOptions

"""Networks whose pods have two legs: neutron-ipvlan's, and upstream's ipvlan with `veth-host`."""

from __future__ import annotations

from typing import Any

from tests.openstack.plugin import NETWORK, config

SERVICE_CIDRS = ["10.96.0.0/12", "fd96::/112"]
SECOND_LEG = {"serviceCIDRs": SERVICE_CIDRS, "hostForwarding": True}
"""`hostForwarding`: this kernel forwards IPv6 for whole nodes only."""
IPS = {"capabilities": {"ips": True}}


def ipvlan(mode: str = "fixed-ips", version: str = "1.1.0", /, **ipam: Any) -> dict[str, Any]:
    """The configuration of a network of neutron-ipvlan."""
    return {**config(version, plugin="neutron-ipvlan", mode=mode, **ipam), **SECOND_LEG}


def combined(**more: Any) -> dict[str, Any]:
    """A conflist whose one plugin is neutron-ipvlan."""
    plugin = {"type": "neutron-ipvlan", "ipam": config()["ipam"], "master": "eth0", **SECOND_LEG}
    return _conflist({**plugin, **IPS, **more})


def chained() -> dict[str, Any]:
    """A conflist of upstream's ipvlan and, for the second leg, our `veth-host`."""
    main = {"type": "ipvlan", "ipam": config()["ipam"], "master": "eth0", **IPS}
    return _conflist(main, second_leg())


def second_leg(**more: Any) -> dict[str, Any]:
    """`veth-host` as a plugin of a chain."""
    return {"type": "veth-host", **SECOND_LEG, **more}


def alone(plugin: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a plugin of a chain gets on its standard input."""
    return {"cniVersion": "1.1.0", "name": NETWORK, **plugin, **more}


def _conflist(*plugins: dict[str, Any]) -> dict[str, Any]:
    return {"cniVersion": "1.1.0", "name": NETWORK, "plugins": list(plugins)}

"""The plugin objects of a network's file: what an operator asks for in them, and what they need.

Only the keys that are asked for change. Everything is checked before the file is written, by the
types that the plugins themselves read their keys with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec.inspect as shape

from neutron_cni.cni.document import convert
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.plugins import RECIPES, Kind, host_device, ipvlan, veth_host
from neutron_cni.plugins.refusals import nic_for_nobody
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode

MAIN = tuple(name for name, recipe in RECIPES.items() if recipe.kind is Kind.MAIN)
"""The plugin types that a network may begin with."""
DEFAULT = MAIN[0]
"""The type of a new network's plugin."""

_UPSTREAM_IPVLAN = "ipvlan"
"""Upstream's plugin, whose keys `master` and `mode` are those of ours."""
_NOTHING = "nothing was written"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for in the plugin objects; None: not asked for, empty: the key goes.

    `plugin`: the type of the main plugin. `ipvlan`: keys of an ipvlan plugin, `master` and `mode`.
    `services` gives the cluster's service networks; it is only called if the chain needs them.
    """

    plugin: str | None = None
    ipvlan: Mapping[str, str | None] = field(default_factory=dict)
    services: Callable[[], Sequence[str]] | None = None


def change(plugins: list[Any], own: dict[str, Any], wanted: Wanted) -> list[str]:
    """Change the chain `plugins`, in which `own` is the main plugin; sentences to be warned by.

    Raises CniError INVALID_CONFIG for what does not fit the plugins, and for what they refuse.
    """
    objects = [item for item in plugins if isinstance(item, dict)]
    warnings = _new_type(own, wanted.plugin)
    _refuse_second_leg_twice(objects, own)
    if not _is_ipvlan(own) and any(value is not None for value in wanted.ipvlan.values()):
        raise _does_not_fit("--master and --ipvlan-mode", own, "an ipvlan plugin")
    set_keys(own, wanted.ipvlan)
    legs = [item for item in objects if _has_part(item, veth_host)]
    if wanted.services is not None and not legs:
        raise _does_not_fit("--service-cidr and --kubeconfig", own, "neutron-ipvlan or veth-host")
    if wanted.services is not None:
        services = list(dict.fromkeys(wanted.services()))
        for leg in legs:
            set_keys(leg, {"serviceCIDRs": services})
    for item in objects:
        _check(item)
    if _is_ipvlan(own):
        warnings += ipvlan.remarks(_config(own, ipvlan.Config), HostFacts())
    return warnings


def set_keys(section: dict[str, Any], values: Mapping[str, object]) -> None:
    """Set the keys that are asked for. None: not asked for, and stays; empty: goes."""
    for key, value in values.items():
        if value:
            section[key] = value
        elif value is not None:
            section.pop(key, None)


def _new_type(own: dict[str, Any], plugin: str | None) -> list[str]:
    """Give the main plugin another type, and name those of its keys that this one does not read."""
    former = own.get("type")
    if plugin is None or plugin == former:
        return []
    if plugin not in MAIN:
        raise CniError(
            Code.INVALID_CONFIG,
            f"{plugin!r:.80} is no main plugin of neutron-cni",
            f"--plugin must be one of {', '.join(MAIN)}; {_NOTHING}",
        )
    own["type"] = plugin
    unread = sorted((_keys(former) - _keys(plugin)) & set(own))
    return [f"{plugin} does not read {', '.join(unread)}, which {former} did"] if unread else []


def _keys(kind: object) -> set[str]:
    """The keys of a plugin type of ours, or of upstream's ipvlan."""
    if kind == _UPSTREAM_IPVLAN:
        return {"master", "mode", "mtu"}
    schemas = RECIPES[kind].schemas() if isinstance(kind, str) and kind in RECIPES else ()
    infos = (shape.type_info(schema) for schema in schemas)
    return {item.encode_name for info in infos for item in getattr(info, "fields", ())}


def _refuse_second_leg_twice(objects: list[dict[str, Any]], own: dict[str, Any]) -> None:
    chained = [item for item in objects if item is not own and item.get("type") == veth_host.PART]
    if chained and _has_part(own, veth_host):
        raise CniError(
            Code.INVALID_CONFIG,
            f"{own['type']} makes the interface of {veth_host.PART}, which is in the chain besides",
            f"take {veth_host.PART} out of the file; {_NOTHING}",
        )


def _does_not_fit(options: str, own: dict[str, Any], right: str) -> CniError:
    return CniError(
        Code.INVALID_CONFIG,
        f"{options} are options of {right}, and the network's main plugin is {own.get('type')}",
        f"leave them out, or change the type with --plugin; {_NOTHING}",
    )


def _is_ipvlan(item: dict[str, Any]) -> bool:
    return item.get("type") == _UPSTREAM_IPVLAN or _has_part(item, ipvlan)


def _has_part(item: dict[str, Any], page: Any) -> bool:
    kind = item.get("type")
    recipe = RECIPES.get(kind) if isinstance(kind, str) else None
    return recipe is not None and page in recipe.pages()


def _check(item: dict[str, Any]) -> None:
    """Raise CniError unless the object is one that its plugin takes; of others' plugins nothing."""
    kind = item.get("type")
    schemas = RECIPES[kind].schemas() if isinstance(kind, str) and kind in RECIPES else ()
    configs = [_config(item, schema) for schema in schemas]
    _check_nic(item, [config for config in configs if isinstance(config, host_device.Config)])
    for config in configs:
        if isinstance(config, veth_host.Config) and not config.service_cidrs:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{kind} needs to know the cluster's service networks",
                "name each with --service-cidr, such as 10.96.0.0/12, or let --kubeconfig read "
                f"them from the cluster; {_NOTHING}",
            )


def _check_nic(item: dict[str, Any], movers: Sequence[host_device.Config]) -> None:
    """Raise CniError unless it is known which NIC pods get, where and only where they get one.

    `movers`: the configurations of the plugin's pages that move a NIC.
    """
    section = item.get("ipam")
    gets_nics = isinstance(section, dict) and section.get("mode") == Mode.NOVA_INTERFACE
    if gets_nics and not movers:
        raise nic_for_nobody(str(item.get("type")))
    for config in movers:
        if gets_nics:
            host_device.refuse(config, HostFacts(nic_by_lease=True))
        elif config.selector() is None:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{item.get('type')} needs to know which NIC of the node its pods get",
                "write device, mac, pciBusID or netVFs into the file, or use --mode "
                f"{Mode.NOVA_INTERFACE}; {_NOTHING}",
            )


def _config(item: dict[str, Any], schema: type[Any]) -> Any:
    """The object's keys as the type of a page. Raises CniError INVALID_CONFIG."""
    try:
        return convert(item, schema)
    except CniError as error:
        details = "; ".join(text for text in (error.details, _NOTHING) if text)
        raise CniError(error.code, error.message, details) from None

"""Ports: created, updated and deleted as Neutron 29 does it (ML2, OVN, reference IPAM)."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes import addresses, attributes, floatingips
from tests.fakes.cloud import DEFAULT_PROJECT, Cloud, Json
from tests.fakes.refusals import (
    Refusal,
    bad_request,
    duplicate_pair,
    internal_error,
    invalid_input,
    stale_revision,
)


def create(cloud: Cloud, body: Any) -> Json:
    """POST /ports, one or (`ports`) several in one transaction."""
    bulk = isinstance(body, dict) and "ports" in body
    asked = body["ports"] if bulk else [attributes.unwrapped(body, "port")]
    wanted = [attributes.check_port(item, update=False) for item in asked]
    if cloud.is_old:
        for item, given in zip(wanted, asked, strict=True):
            item |= {key: given[key] for key in ("mac_address",) if key in given}
    with cloud.lock:
        before = dict(cloud.ports)
        _require_quota(cloud, wanted)
        try:
            with addresses.transaction(cloud):
                made = [_create(cloud, item) for item in wanted]
        except Refusal:
            cloud.tables["ports"] = before
            raise
    return {"ports": made} if bulk else {"port": made[0]}


def update(cloud: Cloud, port_id: str, body: Any, revision: int | None) -> Json:
    """PUT /ports/{id}: what it saw when it began decides what is added and taken off."""
    wanted = attributes.check_port(attributes.unwrapped(body, "port"), update=True)
    with cloud.lock:
        seen = copy.deepcopy(cloud.find("ports", port_id))
    cloud.overlap.wait()
    with cloud.lock:
        if port_id not in cloud.ports:
            raise internal_error()  # what Neutron answers when the port goes away meanwhile
        try:
            with addresses.transaction(cloud):
                return {"port": _update(cloud, seen, wanted, revision)}
        except addresses.OwnRace:
            # The database refuses the second insert, and Neutron begins again with what is there
            # now, having forgotten the condition: both writers are told 200.
            seen = copy.deepcopy(cloud.find("ports", port_id))
            with addresses.transaction(cloud):
                return {"port": _update(cloud, seen, wanted, None)}


def delete(cloud: Cloud, port_id: str, revision: int | None) -> None:
    """DELETE /ports/{id}; floating IPs that point at it point nowhere from then on."""
    with cloud.lock:
        port = cloud.find("ports", port_id)
        if port["device_owner"].startswith("network:router_"):
            raise Refusal(
                409,
                "ServicePortInUse",
                f"Port {port_id} cannot be deleted directly via the port API: has device owner "
                f"{port['device_owner']}.",
            )
        _require_revision(port, revision)
        floatingips.forget_port(cloud, port_id)
        addresses.release(cloud, port["fixed_ips"])
        cloud.remove("ports", port_id)


def _require_quota(cloud: Cloud, wanted: list[Json]) -> None:
    projects = [item.get("project_id") or DEFAULT_PROJECT for item in wanted]
    for project in set(projects):
        cloud.require_quota(project, projects.count(project))


def _create(cloud: Cloud, wanted: Json) -> Json:
    network_id = wanted.get("network_id")
    if not network_id:
        raise bad_request("Failed to parse request. Required attribute 'network_id' not specified")
    cloud.find("networks", network_id)
    mac = wanted.get("mac_address")
    if mac in [p["mac_address"] for p in cloud.ports.values() if p["network_id"] == network_id]:
        raise _mac_in_use(network_id, str(mac))
    port = cloud.add("ports", copy.deepcopy(attributes.PORT_DEFAULTS) | wanted, revision=1)
    if "tag-ports-during-bulk-creation" not in cloud.extensions:
        port["tags"] = []  # accepted, and forgotten
    port["mac_address"] = mac or _new_mac(cloud)
    port |= {"status": "DOWN", "ip_allocation": "immediate", "binding:vif_type": "unbound"}
    port["security_groups"] = _groups(cloud, port, wanted)
    port["allowed_address_pairs"] = _with_macs(
        wanted.get("allowed_address_pairs") or [], port["mac_address"]
    )
    _check_port_security(port)
    port["fixed_ips"] = addresses.in_order(_first_addresses(cloud, port, wanted))
    return copy.deepcopy(port)


def _first_addresses(cloud: Cloud, port: Json, wanted: Json) -> list[Json]:
    entries = wanted.get("fixed_ips")
    if entries is None:
        choices = addresses.unasked(cloud, port["network_id"], port["device_owner"])
    else:
        choices = [[entry] for entry in addresses.completed(cloud, port, entries)]
    if entries != []:
        choices += [[entry] for entry in addresses.automatic(cloud, port, [])]
    return [addresses.allocate(cloud, port, choice) for choice in choices]


def _groups(cloud: Cloud, port: Json, wanted: Json) -> list[str]:
    if not port["port_security_enabled"]:
        return []
    default = cloud.default_security_group(port["project_id"])
    groups = wanted.get("security_groups")
    return [default] if groups is None else [cloud.find("security-groups", g)["id"] for g in groups]


def _update(cloud: Cloud, seen: Json, wanted: Json, revision: int | None) -> Json:
    """One attempt. The answer shows what this call saw and did, not what rivals added."""
    port = cloud.ports[seen["id"]]
    if wanted.get("fixed_ips") is not None:
        floatingips.require_unmoved(cloud, seen["id"], wanted["fixed_ips"])
    _check_port_security(port | wanted)
    fixed_ips, changed = _change_addresses(cloud, port, seen, wanted, revision)
    pairs = seen["allowed_address_pairs"]
    if "allowed_address_pairs" in wanted:
        asked = _with_macs(wanted["allowed_address_pairs"], port["mac_address"])
        if asked or pairs:
            _require_revision(seen, revision)
            _change_pairs(port, pairs, asked)
            pairs, changed = asked, True
    others = {k: v for k, v in wanted.items() if k not in ("fixed_ips", "allowed_address_pairs")}
    if others:
        _require_revision(seen, revision)
        changed = changed or any(port.get(name) != value for name, value in others.items())
        port |= others
    if changed or cloud.is_old:
        cloud.bump(port)
    return copy.deepcopy(port) | {"fixed_ips": fixed_ips, "allowed_address_pairs": pairs}


def _change_addresses(
    cloud: Cloud, port: Json, seen: Json, wanted: Json, revision: int | None
) -> tuple[list[Json], bool]:
    """The port's addresses as this call sees them, and whether it changed any.

    `If-Match` is compared when the first row is written: a PUT that changes nothing is never
    refused as stale, and one that asks for a taken address is told that first.
    """
    if wanted.get("fixed_ips") is None:
        return seen["fixed_ips"], False
    if cloud.max_fixed_ips is not None and len(wanted["fixed_ips"]) > cloud.max_fixed_ips:
        raise invalid_input("Exceeded maximum amount of fixed ips per port")
    change = addresses.delta(cloud, seen, wanted["fixed_ips"])
    entries = addresses.completed(cloud, port, change.add)
    handled = entries + change.keep + change.remove
    entries += addresses.automatic(cloud, port, handled)
    if change.remove:
        _require_revision(seen, revision)
        addresses.release(cloud, change.remove)
    gained = []
    for entry in entries:
        gained.append(addresses.allocate(cloud, port, [entry]))
        _require_revision(seen, revision)
    gone = [item["ip_address"] for item in change.remove]
    stay = [item for item in port["fixed_ips"] if item["ip_address"] not in gone]
    port["fixed_ips"] = addresses.in_order(stay + gained)
    return addresses.in_order(change.keep + gained), bool(gained or change.remove)


def _check_port_security(port: Json) -> None:
    if port["port_security_enabled"]:
        return
    if port["security_groups"]:
        raise Refusal(
            409,
            "PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until "
            "security group is removed.",
        )
    if port["allowed_address_pairs"]:
        raise Refusal(
            409,
            "AddressPairAndPortSecurityRequired",
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        )


def _change_pairs(port: Json, before: list[Json], asked: list[Json]) -> None:
    """Only the difference against what this call saw is applied."""
    now = port["allowed_address_pairs"]
    added = [pair for pair in asked if pair not in before]
    for pair in added:
        if pair in now:
            raise duplicate_pair(pair["mac_address"], pair["ip_address"])
    kept = [pair for pair in now if pair not in before or pair in asked]
    port["allowed_address_pairs"] = _sorted_pairs(kept + added)


def _with_macs(pairs: list[Json], mac: str) -> list[Json]:
    full = [
        {"mac_address": pair.get("mac_address") or mac, "ip_address": pair["ip_address"]}
        for pair in pairs
    ]
    keys = [(pair["mac_address"].lower(), pair["ip_address"]) for pair in full]
    for pair, key in zip(full, keys, strict=True):
        if keys.count(key) > 1:
            raise duplicate_pair(pair["mac_address"].upper(), pair["ip_address"])
    return _sorted_pairs(full)


def _sorted_pairs(pairs: list[Json]) -> list[Json]:
    return sorted(pairs, key=lambda pair: (pair["mac_address"].lower(), pair["ip_address"]))


def _require_revision(seen: Json, revision: int | None) -> None:
    if revision is not None and revision != seen["revision_number"]:
        raise stale_revision(revision, seen["revision_number"])


def _new_mac(cloud: Cloud) -> str:
    return "fa:16:3e:" + ":".join(f"{cloud.random.getrandbits(8):02x}" for _ in range(3))


def _mac_in_use(network_id: str, mac: str) -> Refusal:
    return Refusal(
        409,
        "MacAddressInUse",
        f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
    )

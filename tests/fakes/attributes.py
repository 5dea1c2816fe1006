"""Bodies of requests: which attributes there are, and what their values must look like."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address, ip_interface
from typing import Any
from uuid import UUID

from tests.fakes.cloud import MAX_ADDRESS_PAIRS, Json
from tests.fakes.refusals import Refusal, bad_attribute, bad_request, duplicate_pair

MAX_STRING = 255
MAX_TAG = 255

READ_ONLY = frozenset(
    {
        "id",
        "network_id",
        "project_id",
        "tenant_id",
        "tags",
        "status",
        "created_at",
        "updated_at",
        "revision_number",
    }
)
PORT_DEFAULTS: Json = {
    "name": "",
    "admin_state_up": True,
    "device_id": "",
    "device_owner": "",
    "description": "",
    "binding:host_id": "",
    "binding:profile": {},
    "binding:vnic_type": "normal",
    "extra_dhcp_opts": [],
    "port_security_enabled": True,
}
PORT_ATTRIBUTES = frozenset(
    {
        *PORT_DEFAULTS,
        "network_id",
        "project_id",
        "tenant_id",
        "mac_address",
        "fixed_ips",
        "allowed_address_pairs",
        "security_groups",
        "tags",
        "dns_name",
        "dns_domain",
    }
)


def unwrapped(body: Any, member: str) -> Json:
    """The object inside `{"port": {...}}`. Raises Refusal 400."""
    inner = body.get(member) if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        raise bad_request(f"Unable to find '{member}' in request body")
    return inner


def check_port(wanted: Json, update: bool) -> Json:
    """The same attributes in canonical form. Raises Refusal 400."""
    if update:
        for name in wanted:
            if name in READ_ONLY:
                raise bad_request(f"Cannot update read-only attribute {name}")
    elif "id" in wanted:
        raise bad_request("Attribute 'id' not allowed in POST")
    if unknown := [name for name in wanted if name not in PORT_ATTRIBUTES]:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    for name in ("name", "device_id", "device_owner", "description"):
        check_string(name, wanted.get(name, ""))
    for group in wanted.get("security_groups") or ():
        _check_uuid("security_groups", group)
    _check_tags(wanted.get("tags", []))
    clean = dict(wanted)
    if "mac_address" in wanted:
        clean["mac_address"] = _mac("mac_address", wanted["mac_address"])
    if wanted.get("fixed_ips") is not None:
        clean["fixed_ips"] = _fixed_ips(wanted["fixed_ips"])
    if "allowed_address_pairs" in wanted:
        clean["allowed_address_pairs"] = _pairs(wanted["allowed_address_pairs"])
    return clean


def check_string(name: str, value: Any, longest: int = MAX_STRING) -> None:
    """Raises Refusal 400."""
    if not isinstance(value, str):
        raise bad_attribute(name, f"'{value}' is not a valid string.")
    if len(value) > longest:
        raise bad_attribute(name, f"'{value}' exceeds maximum length of {longest}.")


def _check_tags(value: Any) -> None:
    if not isinstance(value, list):
        raise bad_attribute("tags", f"'{value}' is not a list.")
    for tag in value:
        check_string("tags", tag, MAX_TAG)
        if value.count(tag) > 1:
            raise bad_attribute("tags", f"Duplicate items in the list: '{tag}'.")


def _fixed_ips(value: Any) -> list[Json]:
    clean: list[Json] = []
    if not isinstance(value, list):
        raise bad_attribute("fixed_ips", f"Invalid data format for fixed IP: '{value}'.")
    for entry in value:
        if not isinstance(entry, dict):
            raise bad_attribute("fixed_ips", f"Invalid data format for fixed IP: '{entry}'.")
        known: Json = {}
        if "ip_address" in entry:
            known["ip_address"] = _address("fixed_ips", entry["ip_address"])
            if known["ip_address"] in [item.get("ip_address") for item in clean]:
                text = f"Duplicate IP address '{entry['ip_address']}'."
                raise bad_attribute("fixed_ips", text)
        if "subnet_id" in entry:
            _check_uuid("fixed_ips", entry["subnet_id"])
            known["subnet_id"] = entry["subnet_id"]
        clean.append(known)
    return clean


def _pairs(value: Any) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request("Allowed address pairs must be a list.")
    if len(value) > MAX_ADDRESS_PAIRS:
        raise Refusal(
            400,
            "AllowedAddressPairExhausted",
            f"The number of allowed address pair exceeds the maximum {MAX_ADDRESS_PAIRS}.",
        )
    seen: Collection[tuple[Any, Any]] = []
    for pair in value:
        _check_pair(pair)
        key = (pair.get("mac_address"), pair["ip_address"])
        if key in seen:
            raise duplicate_pair(*key)
        seen = [*seen, key]
    return [dict(pair) for pair in value]


def _check_pair(pair: Any) -> None:
    if not isinstance(pair, dict) or "ip_address" not in pair:
        raise Refusal(
            400, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address"
        )
    if extra := [name for name in pair if name not in ("ip_address", "mac_address")]:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(extra)}'")
    if "mac_address" in pair:
        _mac("allowed_address_pairs", pair["mac_address"])
    try:
        ip_interface(pair["ip_address"])
    except ValueError:
        raise bad_request(f"'{pair['ip_address']}' is not a valid IP address") from None


def _address(name: str, value: Any) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise bad_attribute(name, f"'{value}' is not a valid IP address.") from None


def _mac(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value):
        raise bad_attribute(name, f"'{value}' is not a valid MAC address.")
    return value.lower()


def _check_uuid(name: str, value: Any) -> None:
    try:
        UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise bad_attribute(name, f"'{value}' is not a valid UUID.") from None

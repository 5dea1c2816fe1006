"""GET of one object or of a list: filters, fields and pages of the Networking API."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlencode

from tests.fakes.cloud import Cloud, Json
from tests.fakes.refusals import Refusal, bad_request, invalid_input

Query = dict[str, list[str]]

PAGING = ("limit", "marker")
TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
FOLDED = ("name", "device_id", "device_owner", "mac_address", "description")
"""Compared without regard to case, as the database's collation does it."""
ALWAYS = frozenset(
    {
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "network_id",
        "mac_address",
        "device_id",
        "device_owner",
        "status",
        "admin_state_up",
        "security_groups",
        "revision_number",
        "binding:host_id",
        "cidr",
        "ip_version",
        "gateway_ip",
        "mtu",
        "shared",
        "router:external",
        "port_id",
        "router_id",
        "fixed_ip_address",
        "floating_ip_address",
        "floating_network_id",
    }
)
"""Attributes that may be filtered on; others are refused (extension filter-validation)."""


def show(cloud: Cloud, collection: str, name: str, query: Query) -> Json:
    """GET /{collection}/{id}."""
    with cloud.lock:
        item = _shown(cloud, cloud.find(collection, name))
    return {_member(collection): _only(item, query)}


def _shown(cloud: Cloud, item: Json) -> Json:
    return {key: copy.deepcopy(value) for key, value in item.items() if key not in cloud.unshown}


def listed(cloud: Cloud, collection: str, query: Query, base: str) -> Json:
    """GET /{collection}; `base` is the collection's own URL, for the links to other pages."""
    _check(query)
    with cloud.lock:
        items = [
            _shown(cloud, item)
            for item in cloud.tables[collection].values()
            if item["id"] not in cloud.hidden and _fits(cloud, item, query)
        ]
        items, links = _page(cloud, collection, sorted(items, key=_by_id), query, base)
    found: Json = {collection.replace("-", "_"): [_only(item, query) for item in items]}
    if links:
        found[f"{collection.replace('-', '_')}_links"] = links
    return found


def _check(query: Query) -> None:
    known = {*ALWAYS, *TAG_FILTERS, *PAGING, "fields", "fixed_ips"}
    if unknown := [name for name in query if name not in known]:
        raise bad_request(f"{unknown} is invalid attribute for filtering")
    for value in query.get("fixed_ips", ()):
        if "=" not in value:
            raise invalid_input(f"'{value}' is not of the form <key>=[value]")


def _fits(cloud: Cloud, item: Json, query: Query) -> bool:
    for name, values in query.items():
        if name in PAGING or name == "fields":
            continue
        if name in TAG_FILTERS:
            fits = _tags_fit(name, *_comparable(cloud, item["tags"], values))
        elif name == "fixed_ips":
            fits = _addresses_fit(item["fixed_ips"], values)
        else:
            fits = _value_fits(name, item.get(name), values)
        if not fits:
            return False
    return True


def _value_fits(name: str, value: Any, values: list[str]) -> bool:
    if isinstance(value, list):
        return bool(set(value) & set(values))
    if isinstance(value, bool):
        return str(value).lower() in [text.lower() for text in values]
    text = "" if value is None else str(value)
    if name in FOLDED:
        return text.lower() in [wanted.lower() for wanted in values]
    return text in values


def _comparable(cloud: Cloud, tags: list[str], values: list[str]) -> tuple[set[str], list[str]]:
    """Tags and filters; an old Neutron does not mind their case."""
    if cloud.is_old:
        return {tag.lower() for tag in tags}, [value.lower() for value in values]
    return set(tags), values


def _tags_fit(name: str, tags: set[str], values: list[str]) -> bool:
    wanted = {tag for value in values for tag in value.split(",")}
    return {
        "tags": wanted <= tags,
        "tags-any": bool(wanted & tags),
        "not-tags": not wanted <= tags,
        "not-tags-any": not wanted & tags,
    }[name]


def _addresses_fit(fixed_ips: list[Json], values: list[str]) -> bool:
    """Each key has to fit one of the port's entries, not all keys the same one."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        key, _, text = value.partition("=")
        wanted.setdefault(key, []).append(text)
    parts = [part for part in wanted.get("ip_address_substr", ()) if part]
    return (
        _any_in(fixed_ips, "ip_address", wanted.get("ip_address"))
        and _any_in(fixed_ips, "subnet_id", wanted.get("subnet_id"))
        and (not parts or any(part in item["ip_address"] for item in fixed_ips for part in parts))
    )


def _any_in(fixed_ips: list[Json], key: str, values: list[str] | None) -> bool:
    return values is None or any(item[key] in values for item in fixed_ips)


def _page(
    cloud: Cloud, collection: str, items: list[Json], query: Query, base: str
) -> tuple[list[Json], list[Json]]:
    limit = _limit(cloud, query)
    if limit is None:
        return items, []
    if "marker" in query:
        marker = query["marker"][0]
        cloud.find(collection, marker)
        items = [item for item in items if item["id"] > marker]
    page = items[:limit]
    links = []
    if len(page) == limit:
        rest = [(k, v) for k, values in query.items() if k != "marker" for v in values]
        url = f"{base}?{urlencode([*rest, ('marker', page[-1]['id'])])}"
        links.append({"rel": "next", "href": url})
    return page, links


def _limit(cloud: Cloud, query: Query) -> int | None:
    text = query.get("limit", ["0"])[0]
    if not text.isdigit():
        raise Refusal(
            400,
            "BadRequest",
            f"Bad limit request: Limit must be an integer 0 or greater and not '{text}'.",
        )
    limits = [number for number in (int(text), cloud.max_page) if number]
    return min(limits) if limits else None


def _only(item: Json, query: Query) -> Json:
    if "fields" not in query:
        return item
    return {name: value for name, value in item.items() if name in query["fields"]}


def _by_id(item: Json) -> str:
    return str(item["id"])


def _member(collection: str) -> str:
    return collection.removesuffix("s").replace("-", "_")

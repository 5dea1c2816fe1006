"""Tags of networks, subnets and ports (extensions standard-attr-tag and tag-creation)."""

from __future__ import annotations

from typing import Any

from tests.fakes.attributes import MAX_TAG
from tests.fakes.cloud import Cloud, Json
from tests.fakes.refusals import Refusal, internal_error, invalid_input, no_such_path

MAX_TAGS = 50
"""Of one request; a port can come to have more by several."""


def show(cloud: Cloud, collection: str, name: str) -> Json:
    """GET .../tags."""
    with cloud.lock:
        return {"tags": list(_holder(cloud, collection, name)["tags"])}


def require(cloud: Cloud, collection: str, name: str, tag: str) -> None:
    """GET .../tags/{tag}: 404 when it is not there."""
    with cloud.lock:
        if tag not in _holder(cloud, collection, name)["tags"]:
            raise _not_there(tag)


def add(cloud: Cloud, collection: str, name: str, body: Any) -> Json:
    """POST .../tags: those that are there already are fine; the answer is the request."""
    if "tag-creation" not in cloud.extensions:
        raise Refusal(404, "HTTPNotFound", "not supported")
    tags = _checked(body)
    with cloud.lock:
        item = _holder(cloud, collection, name)
        _check_number(collection, [*item["tags"], *tags] if cloud.counts_all_tags else tags)
        _set(cloud, item, {*item["tags"], *tags})
    return {"tags": tags}


def add_one(cloud: Cloud, collection: str, name: str, tag: str) -> None:
    """PUT .../tags/{tag}."""
    tag = _named(cloud, tag)
    _checked({"tags": [tag]})
    with cloud.lock:
        item = _holder(cloud, collection, name)
        if not cloud.is_old:
            _check_number(collection, [*item["tags"], tag])
        if not _found(cloud, item, tag):
            _set(cloud, item, {*item["tags"], tag})


def replace(cloud: Cloud, collection: str, name: str, body: Any) -> Json:
    """PUT .../tags: the whole set."""
    tags = _checked(body)
    with cloud.lock:
        item = _holder(cloud, collection, name)
        _check_number(collection, tags)
        _set(cloud, item, set(tags))
    return {"tags": tags}


def remove(cloud: Cloud, collection: str, name: str, tag: str) -> None:
    """DELETE .../tags/{tag}: 404 when it is not there."""
    tag = _named(cloud, tag)
    with cloud.lock:
        item = _holder(cloud, collection, name)
        found = _found(cloud, item, tag)
        if not found:
            raise _not_there(tag)
        _set(cloud, item, set(item["tags"]) - found)


def clear(cloud: Cloud, collection: str, name: str) -> None:
    """DELETE .../tags."""
    with cloud.lock:
        _set(cloud, _holder(cloud, collection, name), set())


def _holder(cloud: Cloud, collection: str, name: str) -> Json:
    if "standard-attr-tag" not in cloud.extensions:
        raise no_such_path()
    if name not in cloud.tables[collection] or name in cloud.hidden:
        if cloud.is_old:
            raise Refusal(404, "TagResourceNotFound", f"Resource {collection} {name} not found.")
        raise internal_error()  # Neutron 29 looks up the policy of nothing: KeyError, 500
    return cloud.tables[collection][name]


def _named(cloud: Cloud, tag: str) -> str:
    """A tag from a path, which an old Neutron decodes as it was encoded."""
    return tag.encode("latin-1").decode() if cloud.is_old else tag


def _found(cloud: Cloud, item: Json, tag: str) -> set[str]:
    """The tag as the item has it; none where it has not."""
    if cloud.is_old:
        return {other for other in item["tags"] if other.lower() == tag.lower()}
    return {tag} & set(item["tags"])


def _set(cloud: Cloud, item: Json, tags: set[str]) -> None:
    if tags != set(item["tags"]):
        item["tags"] = sorted(tags)
        cloud.bump(item)


def _checked(body: Any) -> list[str]:
    if not isinstance(body, dict) or not isinstance(body.get("tags"), list):
        raise invalid_input("Invalid tags body")
    tags: list[str] = body["tags"]
    for tag in tags:
        if len(tag) > MAX_TAG:
            raise invalid_input(f"'{tag}' exceeds maximum length of {MAX_TAG}")
        if tags.count(tag) > 1:
            raise invalid_input(f"Duplicate items in the list: '{tag}'")
    return tags


def _check_number(collection: str, tags: list[str]) -> None:
    if len(set(tags)) > MAX_TAGS:
        raise Refusal(
            400,
            "BadRequest",
            f"Bad {collection} request: The number of tags exceed the per-resource limit of "
            f"{MAX_TAGS}.",
        )


def _not_there(tag: str) -> Refusal:
    return Refusal(404, "TagNotFound", f"Tag {tag} could not be found.")

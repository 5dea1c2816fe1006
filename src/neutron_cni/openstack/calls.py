"""One call's two ends: the path that names an object and nothing else, and an answer understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from neutron_cni.openstack.errors import NotFound, Refused
from neutron_cni.openstack.service import Service
from neutron_cni.openstack.shapes import Odd, is_id, objects, text, understood
from neutron_cni.values.errors import Code

T = TypeVar("T")


def path(collection: str, item_id: str, *more: str) -> str:
    """The path of one object, or of what it has: each part is one segment, whatever is in it.

    Raises NotFound for an id that none can be: `..` would make another call of it.
    """
    if not is_id(item_id):
        raise NotFound(
            Code.NOT_FOUND,
            f"{item_id[:80]!r} can't be the id of one of the {collection}, so there is none",
            "ids are UUIDs, as `openstack port list` shows them",
        )
    for part in more:
        # Whoever sends a URL takes `.` and `..` for steps even where they are quoted.
        if part in ("", ".", ".."):
            raise Refused(Code.INVALID_CONFIG, f"{part!r} can't be in the path of a call", "")
    return "/" + "/".join(quote(part, safe="") for part in (collection, item_id, *more))


def understand(service: Service, doing: str, read: Callable[[], T]) -> T:
    """What `read` makes of an answer; AnswerLost for one of another shape, as nobody knows what
    became of a change that was answered so."""
    try:
        return understood(read)
    except Odd as error:
        raise service.foreign(doing, f"JSON of another shape ({error})") from error


def page(raw: object, key: str, read: Callable[[Mapping[str, Any]], T]) -> tuple[list[T], str]:
    """The items of a page, and the marker of the next."""
    if not isinstance(raw, dict):
        raise Odd("it is no object")
    if key not in raw:
        raise Odd(f"it has no `{key}`")
    links = objects(raw, f"{key}_links", optional=True)
    return [read(item) for item in objects(raw, key)], _next_marker(links)


def _next_marker(links: Iterable[Mapping[str, Any]]) -> str:
    """The `marker` in the link to the next page, empty on the last."""
    for link in links:
        if text(link, "rel") == "next":
            return parse_qs(urlsplit(text(link, "href")).query).get("marker", [""])[0]
    return ""

"""Reading JSON that may have any shape: what is asked for, or a sentence that names the field.

A cloud's answer comes through gateways, and from releases that nobody here has seen. Whatever it
is, the reader gets a value of the type that it asked for, or raises Odd: never something that
breaks far away from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from neutron_cni.values.address import IPAddress, IPNetwork

T = TypeVar("T")

_ID = re.compile(r"[0-9A-Za-z_-]{1,255}")


class Odd(ValueError):
    """A value that is missing or of another kind. Its text holds names of fields, no values."""


def understood(read: Callable[[], T]) -> T:
    """What `read` returns; Odd for whatever the JSON's shape made it trip over."""
    try:
        return read()
    except Odd:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise Odd(f"a value is not what it should be ({type(error).__name__})") from error


def is_id(text: object) -> bool:
    """Whether it can be an id of the API: then it is one segment of a path, and nothing else.

    UUIDs as a rule, 32 digits for projects; `..` and `a/b` would make another call of it.
    """
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Odd(f"{what} is no object")
    return value


def member(raw: object, key: str) -> Mapping[str, Any]:
    """The object that an object of the API comes in: `{"port": {...}}`."""
    outer = mapping(raw, "it")
    if key not in outer:
        raise Odd(f"it has no `{key}`")
    return mapping(outer[key], f"`{key}`")


def items(raw: Mapping[str, Any], key: str, optional: bool = False) -> Sequence[Any]:
    """A list; with `optional` none at all, where an extension or a policy leaves it out or null."""
    found = raw.get(key)
    if optional and found is None:
        return ()
    if not isinstance(found, list):
        raise Odd(f"`{key}` is no list")
    return found


def objects(raw: Mapping[str, Any], key: str, optional: bool = False) -> list[Mapping[str, Any]]:
    """A list of objects."""
    return [mapping(item, f"an item of `{key}`") for item in items(raw, key, optional)]


def text(raw: Mapping[str, Any], key: str) -> str:
    """A string, empty where there is none."""
    found = raw.get(key)
    if found is None:
        return ""
    return a_text(found, key)


def a_text(value: object, key: str) -> str:
    """A string that can be written to a file."""
    if not isinstance(value, str):
        raise Odd(f"`{key}` is no string")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise Odd(f"`{key}` is half a character")
    return value


def texts(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of strings, empty where there is none."""
    found = raw.get(key)
    return () if found is None else tuple(a_text(item, key) for item in items(raw, key))


def an_id(raw: Mapping[str, Any], key: str) -> str:
    """An id that has to be there."""
    found = raw.get(key)
    if not is_id(found):
        raise Odd(f"`{key}` is no id" if found is not None else f"it has no `{key}`")
    return str(found)


def flag(raw: Mapping[str, Any], key: str) -> bool:
    """Yes or no; no where there is none."""
    found = raw.get(key)
    if found is not None and not isinstance(found, bool):
        raise Odd(f"`{key}` is neither true nor false")
    return bool(found)


def number(raw: Mapping[str, Any], key: str) -> int:
    """A whole number, 0 where there is none."""
    found = raw.get(key)
    if found is None:
        return 0
    if isinstance(found, bool) or not isinstance(found, (int, str)):
        raise Odd(f"`{key}` is no number")
    try:
        return int(found)
    except ValueError:
        raise Odd(f"`{key}` is no number") from None


def address(raw: Mapping[str, Any], key: str) -> IPAddress:
    """An IP address that has to be there."""
    try:
        return ip_address(text(raw, key))
    except ValueError:
        raise Odd(f"`{key}` is no IP address") from None


def network(raw: Mapping[str, Any], key: str) -> IPNetwork:
    """A CIDR that has to be there."""
    try:
        return ip_network(text(raw, key))
    except ValueError:
        raise Odd(f"`{key}` is no CIDR") from None


def moment(raw: Mapping[str, Any], key: str) -> datetime | None:
    """A date and time of day, None where there is none."""
    found = text(raw, key)
    try:
        return datetime.fromisoformat(found.replace("Z", "+00:00")) if found else None
    except ValueError:
        raise Odd(f"`{key}` is no date") from None

"""Converts JSON from outside to typed values, or to an error that names the wrong key."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

import msgspec

from neutron_cni.values import typed
from neutron_cni.values.address import IPAddress, IPInterface, IPNetwork
from neutron_cni.values.errors import CniError, Code

T = TypeVar("T")

DEPTH = 64
"""How many levels deep a configuration may nest; a real one needs about 6."""


def decode(
    data: bytes, what: str = "the network configuration", *, forgiving: bool = False
) -> dict[str, Any]:
    """The JSON object in `data`. `what` names the document in messages.

    Raises CniError DECODING_FAILURE (malformed, no object, or nested deeper than DEPTH) and
    INVALID_CONFIG (a NUL character in a string).
    `forgiving` (DEL): entries that would be refused are left out instead, so that a pod that was
    made before the configuration went wrong can still be deleted.
    """
    if not data.strip():
        raise CniError(Code.DECODING_FAILURE, f"{what} is empty")
    try:
        value = _parsed(data, forgiving)
    except (ValueError, RecursionError) as error:
        raise CniError(Code.DECODING_FAILURE, f"{what} is not valid JSON", str(error)) from None
    if not isinstance(value, dict):
        raise CniError(
            Code.DECODING_FAILURE, f"{what} must be a JSON object, and is {_kind(value)}"
        )
    document: dict[str, Any] = _without_hostile(value, 0) if forgiving else value
    _refuse_hostile(document, "", 0)
    return document


def _parsed(data: bytes, forgiving: bool) -> Any:
    try:
        return msgspec.json.decode(data)
    except ValueError:
        if not forgiving:
            raise
        import json  # It also takes what msgspec refuses: NaN, and numbers beyond a double's range.

        return json.loads(data, parse_int=_bounded)


def convert(value: object, wanted: type[T], at: str = "") -> T:
    """`value` as a `wanted` (a msgspec type); raises CniError INVALID_CONFIG naming the key.

    `at` is the key of `value` itself in the configuration ("ipam"), empty for the whole of it.
    """
    try:
        return typed.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise invalid(*_explain(str(error), value, wanted, at)) from None


def invalid(key: str, problem: str, allowed: str = "") -> CniError:
    """The CniError INVALID_CONFIG (7) for a wrong `key`; `allowed` says what would be right."""
    return CniError(
        Code.INVALID_CONFIG, f"invalid network configuration: {key}: {problem}", allowed
    )


def parse_address(text: str, key: str) -> IPAddress:
    """An address, "10.0.0.5"; raises CniError INVALID_CONFIG naming `key`."""
    try:
        return ip_address(text)
    except ValueError:
        raise invalid(
            key, f"{text[:80]!r} is not an IP address", "such as 10.0.0.5 or fd00::5"
        ) from None


def parse_interface(text: str, key: str) -> IPInterface:
    """An address and prefix length, "10.0.0.5/24"; raises CniError INVALID_CONFIG naming `key`."""
    try:
        _require_prefix(text)
        return ip_interface(text)
    except ValueError:
        raise invalid(
            key,
            f"{text[:80]!r} is not an address with a prefix length",
            "such as 10.0.0.5/24 or fd00::5/64",
        ) from None


def parse_network(text: str, key: str) -> IPNetwork:
    """A CIDR, "10.0.0.0/8"; host bits are cut off, as upstream's plugins do.

    Raises CniError INVALID_CONFIG naming `key`.
    """
    try:
        _require_prefix(text)
        return ip_network(text, strict=False)
    except ValueError:
        raise invalid(
            key, f"{text[:80]!r} is not a CIDR", "such as 10.96.0.0/12 or fd00::/64"
        ) from None


def parse_requested(text: str, key: str) -> IPAddress:
    """An address that a user asks for, "10.0.0.5" or "10.0.0.5/24".

    A prefix length is dropped, as the subnet decides it. Raises CniError INVALID_CONFIG naming
    `key`.
    """
    return parse_interface(text, key).ip if "/" in text else parse_address(text, key)


def _require_prefix(text: str) -> None:
    """Raise ValueError unless `text` has a prefix length.

    `ipaddress` would also accept a bare address and a netmask, which no other CNI program
    understands.
    """
    if not re.fullmatch(r"[^/]+/[0-9]{1,3}", text, re.ASCII):
        raise ValueError(text)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _refuse_hostile(value: object, key: str, depth: int) -> None:
    """Refuse NUL characters, as the kernel ends paths and names at one, and nesting below DEPTH."""
    if depth > DEPTH:
        raise CniError(
            Code.DECODING_FAILURE,
            f"a JSON document must not nest deeper than {DEPTH} levels, as at {key[:80]}",
        )
    if isinstance(value, str) and "\0" in value:
        raise invalid(key, "contains a NUL character")
    if isinstance(value, dict):
        for name, item in value.items():
            inner = f"{key}.{name}" if key else name
            if "\0" in name:
                raise invalid(repr(inner), "the key contains a NUL character")
            _refuse_hostile(item, inner, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_hostile(item, f"{key}[{index}]", depth + 1)


def _without_hostile(value: Any, depth: int) -> Any:
    """`value` less all that `_refuse_hostile` refuses."""
    if isinstance(value, dict):
        return {
            name: _without_hostile(item, depth + 1)
            for name, item in value.items()
            if not (_is_hostile(name, depth) or _is_hostile(item, depth))
        }
    if isinstance(value, list):
        return [_without_hostile(item, depth + 1) for item in value if not _is_hostile(item, depth)]
    return value


def _is_hostile(value: object, depth: int) -> bool:
    return depth >= DEPTH or (isinstance(value, str) and ("\0" in value or not _is_utf8(value)))


def _is_utf8(text: str) -> bool:
    """Python's own parser takes half of a surrogate pair for a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bounded(digits: str) -> int:
    """The number; 0 for one of more digits than Python converts."""
    return int(digits) if len(digits) <= 100 else 0


_PATH = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>[0-9]+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")


def _explain(message: str, value: object, wanted: object, at: str) -> tuple[str, str, str]:
    """(key, problem, what is allowed), taken from the message of a msgspec.ValidationError."""
    found = _PATH.search(message)
    path = found["path"] if found else ""
    said = message[: found.start()] if found else message
    missing = _MISSING.fullmatch(said)
    if missing:
        return f"{at}{path}.{missing['name']}".strip("."), "is missing", ""
    key = f"{at}{path}".strip(".") or at or "the configuration"
    steps = [step["name"] or step["index"] for step in _STEP.finditer(path)]
    choices = _choices(wanted, steps)
    if not choices and not said.startswith(("Expected `", "Invalid ")):
        return key, said, ""  # From `__post_init__` of the schema, which words its rules itself.
    given = _follow_value(value, steps)
    allowed = f"one of {', '.join(choices)}" if choices else said.replace("`", "")
    return key, f"{given} is not allowed", allowed


def _follow_value(value: Any, steps: list[str]) -> str:
    """The value that `steps` lead to, short enough for an error message."""
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return "the value"
    if isinstance(value, dict | list):
        return _kind(value)
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _choices(wanted: object, steps: list[str]) -> list[str]:
    """The allowed values if `steps` lead to an enumeration, else none."""
    import msgspec.inspect as shape

    node = shape.type_info(wanted)
    for step in steps:
        node = _descend(node, step)
    if isinstance(node, shape.UnionType):
        enums = [item for item in node.types if isinstance(item, shape.EnumType)]
        node = enums[0] if enums else node
    return [str(item.value) for item in node.cls] if isinstance(node, shape.EnumType) else []


def _descend(node: Any, step: str) -> Any:
    """The type of the field or item `step` in a value of the type `node`."""
    for inner in getattr(node, "types", (node,)):
        for entry in getattr(inner, "fields", ()):
            if entry.encode_name == step:
                return entry.type
        if hasattr(inner, "item_type"):
            return inner.item_type
        if hasattr(inner, "value_type"):
            return inner.value_type
    return node

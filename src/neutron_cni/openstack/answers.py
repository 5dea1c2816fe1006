"""What came back: JSON or not, from the service or from something in front of it, and in words.

A gateway's `default backend - 404` is no word of Neutron's: what it refuses was not judged by the
cloud, and what it does not find may well be there. So a refusal counts only with the mark of the
service that we asked, which no gateway puts there (seen on Neutron 29 and Nova 34 with every kind
of 4xx, and in keystonemiddleware 13 and Keystone's API reference).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NOVAS = frozenset(
    (
        *("badRequest", "unauthorized", "forbidden", "itemNotFound", "badMethod", "badMediaType"),
        *("conflictingRequest", "overLimit", "notImplemented", "serviceUnavailable"),
        "computeFault",
    )
)
"""The one key of a refusal of Nova's, by status; `computeFault` where the status has no other."""
QUOTED = 80
"""Characters of a foreign page that are shown, so that its owner recognises it."""


def decoded(content: bytes) -> tuple[bool, Any]:
    """Whether it is JSON, and which; an empty body is None."""
    if not content.strip():
        return True, None
    try:
        return True, json.loads(content)
    except (ValueError, RecursionError):
        return False, None


def neutron_error(content: bytes) -> tuple[str, str] | None:
    """Type and message of `{"NeutronError": ...}`; None for an answer that is not Neutron's."""
    _, body = decoded(content)
    inner = body.get("NeutronError") if isinstance(body, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("type") or ""), str(inner.get("message") or "")
    return ("", inner) if isinstance(inner, str) and inner else None


def nova_error(content: bytes) -> tuple[str, str] | None:
    """Kind and message of `{KIND: {"code": STATUS, "message": ...}}`; None if it is not Nova's."""
    _, body = decoded(content)
    if not isinstance(body, dict) or len(body) != 1:
        return None
    ((kind, inner),) = body.items()
    if kind not in _NOVAS or not isinstance(inner, dict):
        return None
    code, message = inner.get("code"), inner.get("message")
    if not (isinstance(code, int) and isinstance(message, str)):
        return None
    return kind, message


def keystone_error(content: bytes) -> str | None:
    """The message of `{"error": {...}}`, as Keystone and keystonemiddleware write it; else None."""
    _, body = decoded(content)
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(inner, dict) and ("code" in inner or "message" in inner):
        return str(inner.get("message") or "")
    return None


def is_keystones_401(headers: Mapping[str, str]) -> bool:
    """Whether keystonemiddleware says so: earlier releases send text, but always this header."""
    return headers.get("WWW-Authenticate", "").lower().startswith("keystone uri=")


def in_words(content: bytes, quoting: bool) -> str:
    """What a body is. `quoting`: also how a text begins (never of an answer that holds a token)."""
    is_json, body = decoded(content)
    if is_json:
        return _json_in_words(body) if content.strip() else "no body"
    text = content[:4096].decode("utf-8", errors="replace")
    is_html = bool(re.search(r"<\s*(!doctype|html|head|body|title|h1)\b", text, re.IGNORECASE))
    kind = "a page of HTML" if is_html else "a text that is not JSON"
    if not quoting:
        return kind
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    plain = " ".join(re.sub(r"<[^>]*>", " ", title[1] if title else text).split())
    return f"{kind}: {plain[:QUOTED]!r}" if plain else kind


def _json_in_words(body: object) -> str:
    if isinstance(body, dict):
        keys = ", ".join(sorted(str(key)[:30] for key in body)[:5])
        return f"a JSON object with {keys}" if body else "an empty JSON object"
    names: dict[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null"}
    return f"a JSON {names.get(type(body), 'number')}"


def request_id(headers: Mapping[str, str]) -> str:
    """What the service's log names the request by; empty where it does not say."""
    given = headers.get("X-Openstack-Request-Id", "")
    return given if re.fullmatch(r"[\w-]{1,64}", given) else ""

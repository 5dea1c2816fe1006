"""Which values of a clouds.yaml are secrets, in every form in which a library may show them.

Everything is a secret but what is known to be none: a plugin's option that we have never heard of
may well be a password. And libraries say nothing by themselves: what they log and warn of quotes
URLs with passwords, so it goes nowhere.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

import urllib3
from openstack import warnings as sdk_warnings

from neutron_cni.values.scrub import SHORT, conceal

_LIBRARIES = ("keystoneauth", "keystoneauth1", "openstack", "requests", "urllib3", "stevedore")

_PUBLIC = frozenset(
    (
        *("auth_type", "username", "user", "project", "tenant", "region", "regions", "profile"),
        *("cloud", "interface", "verify", "insecure", "system_scope", "default_domain", "status"),
        *("message", "description", "disabled", "force_ipv4", "networks", "clouds", "values"),
        *("name", "endpoint", "auth_url", "url"),
        *("client_config_file", "client_secure_file", "client_vendor_file"),
    )
)
_PUBLIC_ENDS = (
    "_id",
    "_name",
    "_version",
    "_microversion",
    "_interface",
    "_type",
    "_timeout",
    "_retries",
    "_delay",
    "_override",
    "_url",
    "_endpoint",
    "_domain",
    "_source",
    "_format",
    "_file",
    "_source",
    "_format",
    "_class",
)
_SECRET_BY_NAME = re.compile(r"auth|pass|secret|token|key|code|cred")
_FILES = ("cacert", "cert", "key")
"""Their paths are hidden, but not each word of them: it may be `neutron`."""
_OWN_WORDS = frozenset(
    ("neutron", "nova", "keystone", "openstack", "default", "password", "true", "false")
)
"""No secrets, whatever option has them as its value: they are in every sentence."""
_BREAKS = re.compile(r"[\s/@:?#\\\"'\[\]&=]+")
_AS_PART = 4
"""Characters that a part of a secret has at least to be looked for by itself."""


def hush() -> None:
    """Let no library write to standard error: its words may hold secrets, and ours say enough."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # else the `handler of last resort` writes
    for category in (sdk_warnings.OpenStackWarning, urllib3.exceptions.HTTPWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", module=r"(keystoneauth1|openstack|requests|urllib3)(\.|$)")


def learn(content: object) -> None:
    """Conceal the secrets of a configuration: a file's content, a cloud's entry, an environment."""
    conceal(dict(_secrets(content, "value")))


def learn_environment(environ: Mapping[str, str]) -> None:
    """Conceal the secrets of OS_* and of the proxies' URLs."""
    learn({name[3:].lower(): value for name, value in environ.items() if name.startswith("OS_")})
    for name, value in environ.items():
        if name.lower().endswith("_proxy"):
            conceal(dict(_of_url(value)))


def learn_token(token: object) -> None:
    """Conceal what Keystone gave us: a proxy's page of complaint may repeat our headers."""
    if isinstance(token, str):
        conceal(dict(_forms(token, "<token>")))


def _secrets(value: object, key: str, seen: tuple[int, ...] = ()) -> Iterator[tuple[str, str]]:
    if id(value) in seen:  # YAML can hold itself
        return
    if isinstance(value, Mapping):
        yield from _of_mapping(value, key, (*seen, id(value)))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _secrets(item, key, (*seen, id(value)))
    elif value is not None and not isinstance(value, bool):
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if "//" in text:
            yield from _of_url(text)
        # A `5` of any other option would go out of every address.
        everyday = text.lower() in _OWN_WORDS
        if (
            not _is_public(key)
            and not everyday
            and (len(text) >= SHORT or _SECRET_BY_NAME.search(key))
        ):
            yield from _forms(text, f"<{key}>", in_parts=key not in _FILES)


def _of_mapping(
    mapping: Mapping[object, object], parent: str, seen: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    for name, item in mapping.items():
        key = str(name).replace("-", "_").lower()
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,60}", key):
            key = "value"
            # A key may be a password, too: a colon was forgotten, or one too many. A cloud's not.
            if parent != "clouds":
                yield from _secrets(str(name), key, seen)
        yield from _secrets(item, key, seen)
    user, password = mapping.get("username"), mapping.get("password")
    if isinstance(user, str) and isinstance(password, str):
        yield b64encode(f"{user}:{password}".encode(errors="replace")).decode(), "<password>"


def _is_public(key: str) -> bool:
    return key in _PUBLIC or key.endswith(_PUBLIC_ENDS)


def _of_url(url: str) -> Iterator[tuple[str, str]]:
    """User and password (which may hold `/` and `@`), query and fragment."""
    rest = url.partition("//")[2]
    before, at, _ = rest.rpartition("@")
    if at:
        yield from _forms(before, "<credentials>", in_parts=False)
        password = before.partition(":")[2]
        yield from _forms(password, "<password>")
        yield from _forms(unquote(password), "<password>")
    for mark in "?#":
        yield from _forms(rest.partition(mark)[2], "<query>")


def _forms(secret: str, instead: str, in_parts: bool = True) -> Iterator[tuple[str, str]]:
    """The secret as it is, quoted, escaped and encoded; and its longer parts."""
    as_bytes = secret.encode(errors="surrogatepass")
    forms = {
        secret,
        secret.strip(),
        quote(as_bytes),
        quote(as_bytes, safe=""),
        quote_plus(as_bytes),
        repr(secret)[1:-1],
        repr(as_bytes)[2:-1],
        ascii(secret)[1:-1],
        json.dumps(secret)[1:-1],
        as_bytes.decode("latin-1"),
        b64encode(as_bytes).decode(),
    }
    if in_parts:
        # A URL that is cut in the wrong place, or a message at its line's end, shows a part.
        forms |= {part for part in _BREAKS.split(secret) if len(part) >= _AS_PART}
    for form in forms:
        if form:
            yield form, instead

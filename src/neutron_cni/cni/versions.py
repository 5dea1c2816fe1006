"""Which versions of the CNI specification neutron-cni supports, and the answer to VERSION.

This module imports nothing: a runtime asks for VERSION before every other call that it makes, and
importing `json` alone would double the time of VERSION.
"""

SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Oldest first. A configuration without `cniVersion` means 0.1.0, which is not supported."""

NEWEST = SUPPORTED[-1]


def at_least(version: str, minimum: str) -> bool:
    """Whether `version` (one of SUPPORTED) is `minimum` or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(minimum)


def version_answer(stdin: bytes) -> str:
    """The answer to VERSION, as JSON: "cniVersion: the value specified on input" (SPEC, section 5).

    Input that names no supported version (upstream's runtimes send none at all) gets NEWEST.
    """
    asked = quoted_value(stdin, b'"cniVersion"')
    version = asked if asked in SUPPORTED else NEWEST
    supported = ",".join(f'"{item}"' for item in SUPPORTED)
    return f'{{"cniVersion":"{version}","supportedVersions":[{supported}]}}'


def quoted_value(document: bytes, key: bytes) -> str:
    """The quoted text after the first `key` and a colon; "" if there is none.

    This is a search and no parser, for callers that have not imported a JSON parser yet. They
    must check the text that they get.
    """
    after = document.partition(key)[2].lstrip()
    if not after.startswith(b":"):
        return ""
    value = after[1:].lstrip()
    if not value.startswith(b'"'):
        return ""
    return value[1:].partition(b'"')[0].decode("ascii", "replace")

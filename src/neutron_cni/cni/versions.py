"""Which versions of the CNI specification we speak, and the answer to VERSION.

This module imports nothing: a runtime asks for VERSION before every other call it makes, and
importing `json` alone would double what that costs.
"""

SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Oldest first. A configuration without `cniVersion` means 0.1.0, which is not among them."""

NEWEST = SUPPORTED[-1]


def at_least(version: str, minimum: str) -> bool:
    """Whether `version` (one of SUPPORTED) is `minimum` or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(minimum)


def version_answer(stdin: bytes) -> str:
    """The VERSION result: "cniVersion: the value specified on input" (CNI SPEC, section 5).

    Input that names no supported version (upstream's runtimes send none at all) gets NEWEST.
    """
    asked = quoted_value(stdin, b'"cniVersion"')
    version = asked if asked in SUPPORTED else NEWEST
    supported = ",".join(f'"{item}"' for item in SUPPORTED)
    return f'{{"cniVersion":"{version}","supportedVersions":[{supported}]}}'


def quoted_value(document: bytes, key: bytes) -> str:
    """What stands in quotes after `key` and a colon; "" where nothing does.

    For callers that have not imported a parser of JSON yet, and who check what they get.
    """
    after = document.partition(key)[2].lstrip()
    if not after.startswith(b":"):
        return ""
    value = after[1:].lstrip()
    if not value.startswith(b'"'):
        return ""
    return value[1:].partition(b'"')[0].decode("ascii", "replace")

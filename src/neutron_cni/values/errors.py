"""The one exception family: every error has a CNI code, a sentence, and what to do about it.

Codes 1-99 are the CNI specification's ("Error" section of SPEC.md 1.1.0), codes from 100 are
ours, and 999 is "unexpected" (a defect of this program, with its trace in the log).
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """CNI error codes: 1-99 as the specification defines them, from 100 our own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    PLUGIN_NOT_AVAILABLE = 50
    PLUGIN_NOT_AVAILABLE_LIMITED = 51
    # Ours.
    CREDENTIALS = 100
    """Keystone or Neutron refused the credentials, or a policy forbids the call."""
    PORT_NOT_FOUND = 101
    """The VM's Neutron port could not be found, or more than one fits."""
    EXHAUSTED = 102
    """No address left: subnet full, quota reached, or a limit of the port reached."""
    CONFLICT = 103
    """Something that is there already stands in the way: an interface, a route, an address."""
    CHECK_FAILED = 104
    """CHECK found a difference between what ADD made and what is there now."""
    STORE = 105
    """The local store can't be read or written (disk full, damaged, permissions)."""
    KERNEL = 106
    """The kernel refused a change to links, addresses, routes or neighbours."""
    NOT_FOUND = 107
    """A named network, subnet or security group does not exist (or is not visible)."""
    DELEGATE = 108
    """A plugin that we called (third-party IPAM) failed without a CNI error of its own."""
    UNEXPECTED = 999


class CniError(Exception):
    """An error that a runtime can show: code, sentence (`message`), and what to do (`details`)."""

    def __init__(self, code: Code | int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.details})" if self.details else self.message

"""The exception of all packages: a CNI error code, a sentence, and what to do about the error.

Codes 1-99 are the CNI specification's ("Error" section of SPEC.md 1.1.0), codes from 100 are
neutron-cni's own, and 999 is "unexpected" (a defect of this program, with its trace in the log).
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """CNI error codes: 1-99 as the specification defines them, from 100 neutron-cni's own."""

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
    # From here on neutron-cni's own.
    CREDENTIALS = 100
    """Keystone or Neutron refused the credentials, or a policy forbids the call."""
    PORT_NOT_FOUND = 101
    """The VM's Neutron port could not be found, or more than one port fits."""
    EXHAUSTED = 102
    """No address is left: the subnet is full, or a quota or a limit of the port is reached."""
    CONFLICT = 103
    """An interface, a route or an address that exists already is in the way."""
    CHECK_FAILED = 104
    """CHECK found a difference between what ADD made and what is there now."""
    STORE = 105
    """The node's store of leases can't be read or written (disk full, damaged, permissions)."""
    KERNEL = 106
    """The kernel refused a change to links, addresses, routes, rules, neighbours or sysctls."""
    NOT_FOUND = 107
    """A named network, subnet or security group does not exist, or the credentials can't see it."""
    DELEGATE = 108
    """A third-party IPAM plugin that neutron-cni executed failed without a CNI error of its own."""
    UNEXPECTED = 999


class CniError(Exception):
    """An error that the runtime can show to people.

    `code`: a `Code`, or the number that a third-party plugin gave. `message`: a sentence.
    `details`: what to do about it, or empty.
    """

    def __init__(self, code: Code | int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.details})" if self.details else self.message

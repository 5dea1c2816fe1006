"""What all rtnetlink messages of this package share; pyroute2 does the encoding.

`links`, `addresses`, `routes` and `neighbours` turn the entries of a plan into messages, and
the kernel's answers into values.
"""

from __future__ import annotations

import errno

from neutron_cni.netlink.rtnl import Message

EXCL_CREATE = 0x200 | 0x400
"""NLM_F_EXCL | NLM_F_CREATE: EEXIST if it is there."""
REPLACE_CREATE = 0x100 | 0x400
"""NLM_F_REPLACE | NLM_F_CREATE."""
FAMILY = {4: 2, 6: 10}
"""Address family by IP version: AF_INET, AF_INET6."""

GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})
"""What the kernel answers about links, addresses, routes and neighbours that are not there."""
EXISTS = frozenset({errno.EEXIST})


def new(shape: type[Message], kind: int, flags: int = 0, /, **fields: object) -> Message:
    """A message of pyroute2's class `shape` and type `kind` with these fields."""
    message = shape()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    return message

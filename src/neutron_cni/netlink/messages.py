"""What the rtnetlink messages of this package have in common; pyroute2 encodes them.

`links`, `addresses`, `routes`, `rules` and `neighbours` turn the entries of a plan into messages,
and the kernel's answers into values.
"""

from __future__ import annotations

import errno

from neutron_cni.netlink.rtnl import Message

EXCL_CREATE = 0x200 | 0x400
"""NLM_F_EXCL | NLM_F_CREATE: the kernel answers EEXIST if the object exists."""
REPLACE_CREATE = 0x100 | 0x400
"""NLM_F_REPLACE | NLM_F_CREATE: the kernel replaces an object that exists."""
FAMILY = {4: 2, 6: 10}
"""Address family by IP version: AF_INET, AF_INET6."""

GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO})
"""The kernel's errors for links, addresses, routes, rules and neighbours that do not exist."""
EXISTS = frozenset({errno.EEXIST})
"""The kernel's error for an object that exists already."""


def new(shape: type[Message], kind: int, flags: int = 0, /, **fields: object) -> Message:
    """A message of pyroute2's class `shape` with this nlmsg_type, nlmsg_flags and fields."""
    message = shape()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    return message

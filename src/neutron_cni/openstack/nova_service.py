"""Nova as a service: where it is, which version of its API we speak, and what its refusals mean.

Kinds are told apart by HTTP status and, as Nova has no types, by the words of its message: as seen
on Nova 34, and the same in Nova 23 and 26.
"""

from __future__ import annotations

import re

from neutron_cni.openstack.answers import nova_error
from neutron_cni.openstack.errors import (
    CloudError,
    Forbidden,
    NotFound,
    ObjectInUse,
    OverQuota,
    Refused,
    ServerBusy,
    ServerLocked,
)
from neutron_cni.openstack.service import Refusal, Service
from neutron_cni.values.errors import Code

MICROVERSION = "2.51"
"""Of Pike (2017): the first that tells members how an action ended; a server comes with its lock
(2.9) and its flavor's extra specs (2.47)."""

_VERSIONED = re.compile(r"/v2(?:\.1)?(?=(?:/[^/]+)?$)")
"""The version at the end of an endpoint, before the project that some catalogs add."""
_STATE = re.compile(r"while it is in (vm_state|task_state|power_state)\b")
_LOCKED = re.compile(r"\bis locked\b")
_PORTS_EXCEEDED = re.compile(r"number of ports exceeded", re.IGNORECASE)


def _base(endpoint: str) -> str:
    """Also for a catalog that names the API's former version, at which no microversion counts."""
    if _VERSIONED.search(endpoint):
        return _VERSIONED.sub("/v2.1", endpoint)
    return f"{endpoint}/v2.1"


def _meaning(refusal: Refusal) -> CloudError:
    status, why, said = refusal.status, refusal.why, refusal.said
    if status == 403 and _PORTS_EXCEEDED.search(refusal.message):
        return OverQuota(Code.EXHAUSTED, why, "ask for a larger quota, or delete unused ports")
    if status == 403:
        return Forbidden(
            Code.CREDENTIALS,
            why,
            "the credentials need the role `member` in the server's project, or the cloud's "
            "policies have to allow that",
        )
    if status == 404:
        return NotFound(Code.NOT_FOUND, why, said)
    if status == 406:
        return Refused(
            Code.INVALID_CONFIG,
            f"{refusal.doing}: this cloud's Nova does not speak version {MICROVERSION} of its API",
            "it is older than Pike (2017)",
        )
    if status == 409:
        return _conflict(refusal)
    return Refused(Code.INVALID_CONFIG if status == 400 else Code.TRY_AGAIN, why, said)


def _conflict(refusal: Refusal) -> CloudError:
    state = _STATE.search(refusal.message)
    if state is not None and state[1] == "task_state":
        return ServerBusy(Code.TRY_AGAIN, refusal.why, "it passes when that task has ended")
    if state is not None:
        return ServerBusy(
            Code.TRY_AGAIN,
            refusal.why,
            "Nova changes NICs of servers that are active, paused or stopped: see "
            "`openstack server show`",
        )
    if _LOCKED.search(refusal.message):
        return ServerLocked(
            Code.CREDENTIALS,
            refusal.why,
            "`openstack server unlock`, by whoever locked it or an administrator",
        )
    return ObjectInUse(Code.CONFLICT, refusal.why, refusal.said)


NOVA = Service(
    "Nova",
    "compute",
    _base,
    nova_error,
    _meaning,
    {"OpenStack-API-Version": f"compute {MICROVERSION}"},
)

"""What Neutron's refusals mean, by kind: callers decide by type, people read the sentence.

Kinds are told apart by HTTP status and the `type` in the body's `NeutronError`, as seen on
Neutron 29 and as documented in the Networking API v2.0 reference.
"""

from __future__ import annotations

import json
import re
from typing import Any

from neutron_cni.values.errors import CniError, Code


class CloudError(CniError):
    """Any failure of a call to the cloud."""


class Unreachable(CloudError):
    """The call was never carried out: nothing listens, no route, TLS or DNS failure."""


class AnswerLost(CloudError):
    """A change was sent and its answer did not come: it may or may not have been made."""


class Unauthorized(CloudError):
    """Wrong or expired credentials, or no clouds.yaml to take them from."""


class Forbidden(CloudError):
    """A policy of the cloud does not let this project do that."""


class NotFound(CloudError):
    """The object does not exist, or this project can't see it."""


class StaleRevision(CloudError):
    """Somebody changed the object since we read it (412, or a pair that is there already)."""


class AddressTaken(CloudError):
    """An address asked for by name belongs to another port."""


class SubnetFull(CloudError):
    """No free address is left in the subnet's allocation pools."""


class OverQuota(CloudError):
    """The project's quota is used up."""


class PairLimit(CloudError):
    """The port has as many allowed address pairs as Neutron lets it have: `limit`, if told."""

    def __init__(self, message: str, details: str, limit: int | None) -> None:
        super().__init__(Code.EXHAUSTED, message, details)
        self.limit = limit


class ObjectInUse(CloudError):
    """The cloud refuses for now: the object is in use (a floating IP points at the address)."""


class Refused(CloudError):
    """Any other refusal (4xx)."""


def refusal(status: int, body: bytes, doing: str) -> CloudError:
    """The error for an answer with `status` >= 400 to what we were `doing`."""
    kind, message = _neutron_error(body)
    said = f"Neutron answered {status}{f' {kind}' if kind else ''}"
    why = f"{doing}: {message or said}"
    if status == 401:
        return Unauthorized(
            Code.CREDENTIALS,
            f"{doing}: the cloud refused our credentials",
            "check the cloud's entry in clouds.yaml; an application credential may have expired",
        )
    if status == 403:
        return Forbidden(Code.CREDENTIALS, why, "a policy of this cloud forbids this project that")
    if status == 404:
        return NotFound(Code.NOT_FOUND, why, said)
    if status == 412:
        return StaleRevision(Code.TRY_AGAIN, why, said)
    if kind == "DuplicateAddressPairInRequest":
        # We send none twice: a PUT that overlapped ours added the pair after ours had looked.
        return StaleRevision(Code.TRY_AGAIN, why, said)
    if kind == "AllowedAddressPairExhausted":
        return _pair_limit(doing, message)
    if kind in ("IpAddressAlreadyAllocated", "IpAddressInUse"):
        return AddressTaken(Code.CONFLICT, why, said)
    if kind in ("IpAddressGenerationFailure", "ExternalIpAddressExhausted"):
        return SubnetFull(Code.EXHAUSTED, why, "free addresses, or add a subnet to `subnets`")
    if kind == "OverQuota":
        return OverQuota(Code.EXHAUSTED, why, "ask for a larger quota, or delete unused ports")
    if status == 409 or (status == 400 and "floating" in message.lower()):
        return ObjectInUse(Code.CONFLICT, why, said)
    return Refused(Code.INVALID_CONFIG if status == 400 else Code.TRY_AGAIN, why, said)


def _neutron_error(body: bytes) -> tuple[str, str]:
    """Type and message of `{"NeutronError": {...}}`, empty where there is none."""
    try:
        raw: Any = json.loads(body)
    except ValueError:
        return "", ""
    inner = raw.get("NeutronError") if isinstance(raw, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("type") or ""), str(inner.get("message") or "")
    return "", str(inner) if inner else ""


def _pair_limit(doing: str, message: str) -> PairLimit:
    number = re.search(r"(\d+)", message)
    limit = int(number.group(1)) if number else None
    return PairLimit(
        f"{doing}: the VM's port has as many allowed address pairs as Neutron permits "
        f"({limit if limit is not None else 'limit not told'})",
        "raise max_allowed_address_pair in neutron.conf, use mode fixed-ips, or spread the pods",
        limit,
    )

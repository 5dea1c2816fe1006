"""Neutron as a service: where it is, and what its refusals mean.

Kinds are told apart by HTTP status and the `type` in the body's `NeutronError`, as seen on
Neutron 29 and as documented in the Networking API v2.0 reference.
"""

from __future__ import annotations

import re

from neutron_cni.openstack.answers import neutron_error
from neutron_cni.openstack.errors import (
    AddressTaken,
    CloudError,
    FixedIpLimit,
    Forbidden,
    NotFound,
    ObjectInUse,
    OverQuota,
    PairLimit,
    Refused,
    StaleRevision,
    SubnetFull,
    TagLimit,
)
from neutron_cni.openstack.service import Refusal, Service
from neutron_cni.values.errors import Code

_TOO_MANY_TAGS = re.compile(r"number of tags .*(limit|exceed)", re.IGNORECASE)
"""Of Neutron's sentence, which goes on with the limit itself: "... per-resource limit of 50"."""
_TOO_MANY_FIXED_IPS = re.compile(r"maximum amount of fixed ips per port", re.IGNORECASE)


def _base(endpoint: str) -> str:
    return endpoint if endpoint.endswith("/v2.0") else f"{endpoint}/v2.0"


def _meaning(refusal: Refusal) -> CloudError:
    status, kind, message = refusal.status, refusal.kind, refusal.message
    why, said = refusal.why, refusal.said
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
        return _pair_limit(refusal.doing, message)
    if status in (400, 409) and _TOO_MANY_TAGS.search(message):
        advice = "take off tags that others put there, or spread the pods over more nodes"
        return TagLimit(Code.EXHAUSTED, why, advice)
    if status in (400, 409) and _TOO_MANY_FIXED_IPS.search(message):
        advice = "raise max_fixed_ips_per_port in neutron.conf, or spread the pods over more nodes"
        return FixedIpLimit(Code.EXHAUSTED, why, advice)
    if kind in ("IpAddressAlreadyAllocated", "IpAddressInUse"):
        return AddressTaken(Code.CONFLICT, why, said)
    if kind in ("IpAddressGenerationFailure", "ExternalIpAddressExhausted"):
        return SubnetFull(Code.EXHAUSTED, why, "free addresses, or add a subnet to `subnets`")
    if kind == "OverQuota":
        return OverQuota(Code.EXHAUSTED, why, "ask for a larger quota, or delete unused ports")
    if status == 409 or (status == 400 and "floating" in message.lower()):
        return ObjectInUse(Code.CONFLICT, why, said)
    return Refused(Code.INVALID_CONFIG if status == 400 else Code.TRY_AGAIN, why, said)


def _pair_limit(doing: str, message: str) -> PairLimit:
    number = re.search(r"(\d+)", message)
    limit = int(number.group(1)) if number else None
    return PairLimit(
        f"{doing}: the VM's port has as many allowed address pairs as Neutron permits "
        f"({limit if limit is not None else 'limit not told'})",
        "raise max_allowed_address_pair in neutron.conf, use mode fixed-ips, or spread the pods",
        limit,
    )


NEUTRON = Service("Neutron", "network", _base, neutron_error, _meaning)

"""What Neutron's refusals mean, by kind: callers decide by type, people read the sentence.

Kinds are told apart by HTTP status and the `type` in the body's `NeutronError`, as seen on
Neutron 29 and as documented in the Networking API v2.0 reference. What does not come from Neutron
is no refusal, whatever its status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from neutron_cni.openstack.answers import (
    in_words,
    is_keystones_401,
    keystone_error,
    neutron_error,
)
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.scrub import scrub

LONGEST_SENTENCE = 1000
"""Characters: what a cloud says may have any length."""


class CloudError(CniError):
    """Any failure of a call to the cloud. In one line, and without secrets."""

    def __init__(self, code: Code | int, message: str, details: str = "") -> None:
        super().__init__(code, presentable(message), presentable(details))


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


class TagLimit(CloudError):
    """The object has as many tags as Neutron lets it have."""


class FixedIpLimit(CloudError):
    """The port has as many fixed IPs as this cloud, an older one, lets it have."""


class NoTags(CloudError):
    """This cloud's Neutron has no tags of ports, which neutron-cni can't do without."""


class ObjectInUse(CloudError):
    """The cloud refuses for now: the object is in use (a floating IP points at the address)."""


class Refused(CloudError):
    """Any other refusal (4xx)."""


def refusal(
    status: int, body: bytes, doing: str, headers: Mapping[str, str] | None = None
) -> CloudError:
    """The error for an answer with `status` >= 400 to what we were `doing`.

    AnswerLost where it is not Neutron that refused.
    """
    own = neutron_error(body)
    if own is None:
        from_keystone = keystone_error(body) is not None or is_keystones_401(headers or {})
        if status != 401 or not from_keystone:
            return foreign(doing, f"{status} with {in_words(body, quoting=True)}")
    kind, message = own or ("", "")
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


def foreign(doing: str, what: str) -> AnswerLost:
    """What was answered is no answer of Neutron's: for all we know the call was carried out."""
    return AnswerLost(
        Code.TRY_AGAIN,
        f"{doing}: answered with {what}, which is not as Neutron answers",
        "a gateway, proxy or load balancer in front of Neutron? Check the endpoint "
        "(`openstack catalog list`) and what `curl` of it says from this node",
    )


def presentable(text: str) -> str:
    """One line that can be printed, without secrets."""
    # Secrets first: one that is cut, or in two lines, would not be found.
    clean = scrub(text)
    line = "".join(char if char.isprintable() else " " for char in clean).strip()
    return line if len(line) <= LONGEST_SENTENCE else f"{line[:LONGEST_SENTENCE]} ..."


_TOO_MANY_TAGS = re.compile(r"number of tags .*(limit|exceed)", re.IGNORECASE)
"""Of Neutron's sentence, which goes on with the limit itself: "... per-resource limit of 50"."""


_TOO_MANY_FIXED_IPS = re.compile(r"maximum amount of fixed ips per port", re.IGNORECASE)


def _pair_limit(doing: str, message: str) -> PairLimit:
    number = re.search(r"(\d+)", message)
    limit = int(number.group(1)) if number else None
    return PairLimit(
        f"{doing}: the VM's port has as many allowed address pairs as Neutron permits "
        f"({limit if limit is not None else 'limit not told'})",
        "raise max_allowed_address_pair in neutron.conf, use mode fixed-ips, or spread the pods",
        limit,
    )

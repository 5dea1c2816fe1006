"""Neutron's refusals: status, `type` and message, word for word as version 29 gives them."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An answer with status >= 400 and a `NeutronError` body."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(f"{status} {kind}: {message}")
        self.status = status
        self.kind = kind
        self.message = message

    def body(self) -> dict[str, Any]:
        """The JSON that Neutron sends."""
        return {"NeutronError": {"type": self.kind, "message": self.message, "detail": ""}}


def bad_request(message: str) -> Refusal:
    """400 of the API layer: the request is not well formed."""
    return Refusal(400, "HTTPBadRequest", message)


def bad_attribute(name: str, reason: str) -> Refusal:
    """400 of the API layer: one attribute's value is of the wrong form."""
    return bad_request(f"Invalid input for {name}. Reason: {reason}")


def invalid_input(message: str) -> Refusal:
    """400 of the plugin: well formed, but it can't be."""
    return Refusal(400, "InvalidInput", f"Invalid input for operation: {message}.")


def not_found(kind: str, name: str) -> Refusal:
    """404 with the object's type, such as `PortNotFound`."""
    words = {
        "FloatingIP": f"Floating IP {name} could not be found",
        "SecurityGroup": f"Security group {name} does not exist",
    }
    return Refusal(404, f"{kind}NotFound", words.get(kind, f"{kind} {name} could not be found."))


def no_such_path() -> Refusal:
    """404 of a path that is not an API."""
    return Refusal(404, "HTTPNotFound", "The resource could not be found.")


def internal_error() -> Refusal:
    """500: a defect of Neutron itself; some of them are part of the behaviour."""
    return Refusal(
        500,
        "HTTPInternalServerError",
        "Request Failed: internal server error while processing your request.",
    )


def stale_revision(expected: int, current: int) -> Refusal:
    """412 of `If-Match`."""
    return Refusal(
        412,
        "RevisionNumberConstraintFailed",
        f"Constrained to {expected}, but current revision is {current}",
    )


def subnet_full(network_id: str) -> Refusal:
    """409: no free address in the allocation pools."""
    return Refusal(
        409,
        "IpAddressGenerationFailure",
        f"No more IP addresses available on network {network_id}.",
    )


def address_taken(address: str, subnet_id: str) -> Refusal:
    """409: another port has the address."""
    return Refusal(
        409,
        "IpAddressAlreadyAllocated",
        f"IP address {address} already allocated in subnet {subnet_id}",
    )


def duplicate_pair(mac: str | None, address: str) -> Refusal:
    """400: a pair twice, in the request or because a rival added it meanwhile."""
    return Refusal(
        400,
        "DuplicateAddressPairInRequest",
        f"Request contains duplicate address pair: mac_address {mac} ip_address {address}.",
    )

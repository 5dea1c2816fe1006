"""Which refusal of Neutron becomes which error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neutron_cni.openstack.errors import (
    AddressTaken,
    CloudError,
    Forbidden,
    NotFound,
    ObjectInUse,
    OverQuota,
    PairLimit,
    Refused,
    StaleRevision,
    SubnetFull,
    Unauthorized,
)
from neutron_cni.openstack.neutron_service import NEUTRON
from neutron_cni.values.errors import Code


def body(kind: str, message: str = "why") -> bytes:
    """As Neutron writes it."""
    return json.dumps({"NeutronError": {"type": kind, "message": message, "detail": ""}}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "message", "wanted", "code"),
    [
        (401, "", "", Unauthorized, Code.CREDENTIALS),
        (403, "PolicyNotAuthorized", "no", Forbidden, Code.CREDENTIALS),
        (404, "PortNotFound", "no", NotFound, Code.NOT_FOUND),
        (412, "RevisionNumberConstraintFailed", "no", StaleRevision, Code.TRY_AGAIN),
        (400, "DuplicateAddressPairInRequest", "no", StaleRevision, Code.TRY_AGAIN),
        (409, "IpAddressAlreadyAllocated", "no", AddressTaken, Code.CONFLICT),
        (409, "IpAddressInUse", "no", AddressTaken, Code.CONFLICT),
        (409, "IpAddressGenerationFailure", "no", SubnetFull, Code.EXHAUSTED),
        (400, "ExternalIpAddressExhausted", "no", SubnetFull, Code.EXHAUSTED),
        (409, "OverQuota", "no", OverQuota, Code.EXHAUSTED),
        (409, "MacAddressInUse", "no", ObjectInUse, Code.CONFLICT),
        (409, "ServicePortInUse", "no", ObjectInUse, Code.CONFLICT),
        (400, "BadRequest", "associated to a floating ip", ObjectInUse, Code.CONFLICT),
        (400, "BadRequest", "no", Refused, Code.INVALID_CONFIG),
        (400, "InvalidIpForSubnet", "no", Refused, Code.INVALID_CONFIG),
        (413, "", "", Refused, Code.TRY_AGAIN),
        (418, "Teapot", "no", Refused, Code.TRY_AGAIN),
    ],
)
def test_kinds(status: int, kind: str, message: str, wanted: type[CloudError], code: Code) -> None:
    error = NEUTRON.refusal(status, body(kind, message), "doing it")
    assert type(error) is wanted
    assert error.code == code
    assert error.message.startswith("doing it: ")


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("The number of allowed address pair exceeds the maximum 10.", 10),
        ("The number of allowed address pair exceeds the maximum 200.", 200),
        ("Too many.", None),
    ],
)
def test_the_limit_of_pairs_is_read_from_the_message(message: str, limit: int | None) -> None:
    error = NEUTRON.refusal(400, body("AllowedAddressPairExhausted", message), "doing it")
    assert isinstance(error, PairLimit)
    assert error.limit == limit
    assert error.code == Code.EXHAUSTED


def test_what_neutron_says_is_passed_on() -> None:
    error = NEUTRON.refusal(
        409, body("IpAddressAlreadyAllocated", "IP address 10.0.0.5 is taken"), "x"
    )
    assert "10.0.0.5" in error.message
    assert "IpAddressAlreadyAllocated" in error.details


@given(status=st.integers(400, 499), raw=st.binary() | st.text().map(str.encode))
def test_any_body_will_do(status: int, raw: bytes) -> None:
    assert isinstance(NEUTRON.refusal(status, raw, "doing it"), CloudError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["NeutronError", "type", "message"]), inner)
    ),
    max_leaves=6,
)


@given(status=st.integers(400, 499), raw=JSON)
def test_any_json_will_do(status: int, raw: object) -> None:
    assert isinstance(NEUTRON.refusal(status, json.dumps(raw).encode(), "doing it"), CloudError)

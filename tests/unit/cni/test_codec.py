"""Results and errors as JSON, there and back, in every version."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neutron_cni.cni.codec import error_to_json, result_from_document, result_to_json
from neutron_cni.cni.versions import SUPPORTED, at_least, version_answer
from neutron_cni.values.errors import CniError
from neutron_cni.values.result import Dns, Interface, IPConfig, Result, Route

FULL = Result(
    interfaces=(Interface("veth1", "02:00:00:00:00:01", 1442), Interface("eth0", sandbox="/n")),
    ips=(
        IPConfig(ip_interface("10.0.0.5/24"), ip_address("10.0.0.1"), 1),
        IPConfig(ip_interface("fd00::5/64"), None, None),
    ),
    routes=(Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.1"), 1400),),
    dns=Dns(("10.0.0.2",), "example.org", ("a", "b"), ("ndots:5",)),
)


def test_the_newest_shape() -> None:
    assert json.loads(result_to_json(FULL, "1.1.0")) == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "veth1", "mac": "02:00:00:00:00:01", "mtu": 1442},
            {"name": "eth0", "sandbox": "/n"},
        ],
        "ips": [
            {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 1},
            {"address": "fd00::5/64"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400}],
        "dns": {
            "nameservers": ["10.0.0.2"],
            "domain": "example.org",
            "search": ["a", "b"],
            "options": ["ndots:5"],
        },
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_old_shapes_say_the_ip_version_and_no_mtu(version: str) -> None:
    document = json.loads(result_to_json(FULL, version))
    assert [item["version"] for item in document["ips"]] == ["4", "6"]
    assert "mtu" not in document["interfaces"][0]
    assert "mtu" not in document["routes"][0]


def test_an_empty_result_has_only_its_version() -> None:
    assert json.loads(result_to_json(Result(), "1.0.0")) == {"cniVersion": "1.0.0"}


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_result_survives_the_way_there_and_back(version: str) -> None:
    again = result_from_document(json.loads(result_to_json(FULL, version)))
    assert json.loads(result_to_json(again, version)) == json.loads(result_to_json(FULL, version))
    if at_least(version, "1.1.0"):
        assert again == FULL


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"ips": [{"address": "10.0.0.5"}]}, "prevResult.ips[0].address"),
        ({"ips": [{"address": "10.0.0.5/33"}]}, "prevResult.ips[0].address"),
        ({"ips": [{"address": "10.0.0.5/24", "gateway": "x"}]}, "prevResult.ips[0].gateway"),
        ({"ips": [{"address": "10.0.0.5/24", "interface": 0}]}, "prevResult.ips[0].interface"),
        ({"ips": [{"address": "10.0.0.5/24", "interface": -1}]}, "prevResult.ips[0].interface"),
        ({"ips": [{}]}, "prevResult.ips[0].address: is missing"),
        ({"ips": {}}, "prevResult.ips"),
        ({"routes": [{"dst": "default"}]}, "prevResult.routes[0].dst"),
        ({"routes": [{"dst": "0.0.0.0/0", "gw": "10"}]}, "prevResult.routes[0].gw"),
        ({"interfaces": [{"name": 5}]}, "prevResult.interfaces[0].name"),
        ({"dns": {"nameservers": "10.0.0.1"}}, "prevResult.dns.nameservers"),
        ([], "prevResult"),
        ("x", "prevResult"),
    ],
)
def test_a_wrong_result_is_an_error_that_names_the_key(document: Any, key: str) -> None:
    with pytest.raises(CniError, match="invalid network configuration") as caught:
        result_from_document(document)
    assert key in caught.value.message


def test_null_is_taken_for_absent_as_go_writes_it() -> None:
    nothing = {"interfaces": None, "ips": None, "routes": None, "dns": None}
    assert result_from_document(nothing) == Result()


def test_an_error_with_a_name_that_is_not_utf8_is_still_json() -> None:
    document = json.loads(error_to_json(CniError(4, "no file a\udcff"), "1.0.0"))
    assert document == {"cniVersion": "1.0.0", "code": 4, "msg": "no file a\\udcff"}


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b"", "1.1.0"),
        (b'{"cniVersion": "0.4.0"}', "0.4.0"),
        (b'{"cniVersion" :\n"1.0.0", "x": 1}', "1.0.0"),
        (b'{"cniVersion": "9.0.0"}', "1.1.0"),
        (b'{"cniVersion": 1}', "1.1.0"),
        (b'{"cniVersion', "1.1.0"),
    ],
)
def test_version_answers_with_the_version_asked_for(stdin: bytes, version: str) -> None:
    document = json.loads(version_answer(stdin))
    assert document == {"cniVersion": version, "supportedVersions": list(SUPPORTED)}


@given(st.binary())
def test_version_answers_to_anything(stdin: bytes) -> None:
    assert json.loads(version_answer(stdin))["supportedVersions"] == list(SUPPORTED)

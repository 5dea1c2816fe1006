"""Configurations: what is taken, and the error that names key, value and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neutron_cni.cni.request import IpamChoice, Request, parse, version_of
from neutron_cni.plugins.veth_route import Config
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from tests.support.cni_doubles import environment, stdin

ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
PREVIOUS = {"ips": [{"address": "10.10.0.19/20"}]}


def read(
    data: bytes | None = None, command: str = "ADD", cni_args: str = "", **changes: Any
) -> Request:
    variables = environment(command, CNI_ARGS=cni_args)
    given = stdin(**changes) if data is None else data
    return parse("veth-route", variables, given, (Config,))


def refused(data: bytes | None = None, command: str = "ADD", **changes: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        read(data, command, **changes)
    return caught.value


def test_a_whole_request() -> None:
    request = read(mtu=1400, gatewayAddress="169.254.1.9")
    assert request.network == "pods"
    assert request.version == "1.1.0"
    assert request.configs[0].mtu == 1400
    assert request.configs[0].gateway_address == "169.254.1.9"
    assert request.own_ipam is not None
    assert request.own_ipam.mode is Mode.FIXED_IPS
    assert request.timeout == 60


def test_another_ipam_keeps_its_options_to_itself() -> None:
    request = read(ipam={"type": "host-local", "mode": 5, "ranges": []})
    assert request.ipam == IpamChoice("host-local")


HOSTILE = {
    "empty": b"",
    "blank": b" \n",
    "cut": b'{"name": "po',
    "two": b"{} {}",
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "deeper than allowed": b'{"a":' * 70 + b"1" + b"}" * 70,
    "infinite": b'{"a": 1e999}',
    "thousands of digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"a": NaN}',
    "not UTF-8": b'{"a": "\xff"}',
    "encoded surrogate": b'"\xed\xa0\x80"',
    "escaped surrogate": b'{"a": "\\ud800"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "NUL": b"\0",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_json_object_is_code_6(data: bytes) -> None:
    assert refused(data).code == Code.DECODING_FAILURE


def test_of_duplicate_keys_the_last_counts_as_in_upstreams_decoder() -> None:
    assert read(stdin()[:-1] + b', "name": "other"}').network == "other"


@pytest.mark.parametrize(
    ("changes", "key", "allowed"),
    [
        ({"name": None}, "name: is missing", "letters"),
        ({"name": 5}, "name", "letters"),
        ({"name": "a/b"}, "name: 'a/b'", "letters"),
        ({"name": ""}, "name: ''", "letters"),
        ({"ipam": None}, "ipam: is missing", "cni-ipam-neutron"),
        ({"ipam": []}, "ipam", ""),
        ({"ipam": {"type": None}}, "ipam.type: is missing", "cni-ipam-neutron"),
        ({"ipam": {"type": 5}}, "ipam.type: 5", "CNI_PATH"),
        ({"ipam": {"type": "../x"}}, "ipam.type: '../x'", "CNI_PATH"),
        ({"ipam": {"mode": "bridge"}}, "ipam.mode: 'bridge'", "port, fixed-ips, address-pairs"),
        ({"ipam": {"mode": 5}}, "ipam.mode: 5", "port, fixed-ips, address-pairs"),
        ({"ipam": {"portLookup": "guess"}}, "ipam.portLookup: 'guess'", "auto, id, address"),
        ({"ipam": {"routes": [{"dst": "10.8.0.0/16", "metric": 5}]}}, "routes[0].metric", "gw"),
        ({"ipam": {"timeout": 0}}, "ipam.timeout: 0", "> 0"),
        ({"ipam": {"timeout": "60"}}, "ipam.timeout: '60'", "float"),
        ({"ipam": {"subnets": "a"}}, "ipam.subnets: 'a'", "array"),
        ({"ipam": {"subnets": ["a", ""]}}, "ipam.subnets[1]: ''", "length >= 1"),
        ({"ipam": {"stateDir": "var"}}, "ipam.stateDir: 'var'", "^/"),
        ({"ipam": {"cloud": "a\0b"}}, "ipam.cloud: contains a NUL", ""),
        ({"x\0": 1}, "NUL", ""),
        ({"mtu": "9000"}, "mtu: '9000'", "int"),
        ({"mtu": 5}, "mtu must be 68 to 65535", ""),
        ({"gatewayAddress": "169.254"}, "gatewayAddress", ""),
        ({"gatewayAddress": 5}, "gatewayAddress: 5", "str"),
        ({"gatewayAddress": None, "dummyName": 5}, "dummyName: 5", "str"),
        ({"runtimeConfig": []}, "runtimeConfig: a list", "object"),
        ({"runtimeConfig": {"ips": ["10.0.0.5/99"]}}, "runtimeConfig.ips[0]: '10.0.0.5/99'", "/24"),
        ({"runtimeConfig": {"ips": ["10.0.0.5/255.0.0.0"]}}, "runtimeConfig.ips[0]", "/24"),
        ({"runtimeConfig": {"ips": ["pod"]}}, "runtimeConfig.ips[0]: 'pod'", "10.0.0.5"),
        ({"runtimeConfig": {"mac": "02"}}, "runtimeConfig.mac: '02'", "02:00"),
        ({"args": {"cni": {"ips": ["10.0.0.300"]}}}, "args.cni.ips[0]: '10.0.0.300'", "10.0.0.5"),
        ({"prevResult": 5}, "prevResult", "object"),
    ],
)
def test_code_7_names_the_key_the_value_and_what_is_allowed(
    changes: dict[str, Any], key: str, allowed: str
) -> None:
    if isinstance(changes.get("ipam"), dict) and changes["ipam"].get("type", "") is None:
        error = refused(json.dumps({**json.loads(stdin()), "ipam": {"mode": "port"}}).encode())
    else:
        error = refused(**changes)
    assert error.code == Code.INVALID_CONFIG
    assert key in error.message
    assert allowed in error.details


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "1.1", ""])
def test_versions_that_we_do_not_speak_are_code_1(version: str) -> None:
    error = refused(cniVersion=version)
    assert error.code == Code.INCOMPATIBLE_VERSION
    assert "1.1.0" in error.details


def test_no_version_means_0_1_0_which_we_do_not_speak() -> None:
    assert refused(cniVersion=None).code == Code.INCOMPATIBLE_VERSION


def test_a_version_that_is_no_text_is_code_6() -> None:
    assert refused(cniVersion=1.0).code == Code.DECODING_FAILURE


@pytest.mark.parametrize(
    ("command", "version", "fine"),
    [
        ("CHECK", "0.3.1", False),
        ("CHECK", "0.4.0", True),
        ("STATUS", "1.0.0", False),
        ("STATUS", "1.1.0", True),
        ("GC", "1.0.0", False),
        ("GC", "1.1.0", True),
        ("DEL", "0.3.1", True),
    ],
)
def test_commands_exist_from_the_version_that_brought_them(
    command: str, version: str, fine: bool
) -> None:
    changes: dict[str, Any] = {
        "cniVersion": version,
        "prevResult": PREVIOUS,
        "cni.dev/valid-attachments": [],
    }
    if fine:
        assert read(command=command, **changes).command == command
    else:
        assert refused(command=command, **changes).code == Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize(
    ("changes", "cni_args", "wanted"),
    [
        ({"runtimeConfig": {"ips": ["10.0.0.5/24", "fd00::5"]}}, "", ["10.0.0.5", "fd00::5"]),
        ({"args": {"cni": {"ips": ["10.0.0.6"]}}}, "IP=10.0.0.7", ["10.0.0.6"]),
        (
            {
                "runtimeConfig": {ANNOTATIONS: {"neutron-cni/ips": "10.0.0.8, fd00::8", "a": "b"}},
                "args": {"cni": {"ips": ["10.0.0.6"]}},
            },
            "",
            ["10.0.0.8", "fd00::8"],
        ),
        ({"runtimeConfig": {ANNOTATIONS: {"a": "b"}}}, "IP=10.0.0.7", ["10.0.0.7"]),
        ({"runtimeConfig": {ANNOTATIONS: None}}, "", []),
        ({}, "IP=10.0.0.7/24", ["10.0.0.7"]),
        ({}, "IP=10.0.0.7,fd00::7", ["10.0.0.7", "fd00::7"]),
        ({}, "IP=10.0.0.7,10.0.0.7/28", ["10.0.0.7"]),
        ({"runtimeConfig": {"ips": ["10.0.0.5", "10.0.0.5/24"]}}, "", ["10.0.0.5"]),
        ({"runtimeConfig": {"ips": None, "portMappings": [1]}, "args": None}, "", []),
    ],
)
def test_addresses_asked_for(changes: dict[str, Any], cni_args: str, wanted: list[str]) -> None:
    assert [str(ip) for ip in read(cni_args=cni_args, **changes).requested] == wanted


def test_a_wrong_address_in_the_annotation_is_named() -> None:
    error = refused(runtimeConfig={ANNOTATIONS: {"neutron-cni/ips": "10.0.0.5,pod"}})
    assert "annotation neutron-cni/ips[1]: 'pod'" in error.message


def test_a_wrong_address_in_cni_args_is_code_4() -> None:
    with pytest.raises(CniError) as caught:
        read(cni_args="IP=10.0.0.0/x")
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    assert "IP=10.0.0.0/x" in caught.value.message


MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.mark.parametrize(
    ("changes", "cni_args", "wanted"),
    [
        ({"runtimeConfig": {"mac": MAC}}, f"IgnoreUnknown=1;MAC={OTHER_MAC}", MAC),
        ({}, f"IgnoreUnknown=true;MAC={OTHER_MAC.upper()}", OTHER_MAC),
        ({}, f"MAC={OTHER_MAC}", OTHER_MAC),
        ({}, "MAC=", ""),
    ],
)
def test_a_mac_asked_for(changes: dict[str, Any], cni_args: str, wanted: str) -> None:
    assert read(cni_args=cni_args, **changes).mac == wanted
    assert read(command="DEL", cni_args=cni_args, **changes).mac == ""


@pytest.mark.parametrize("mac", ["02", "03:00:00:00:00:01", "00:00:00:00:00:00"])
def test_a_wrong_mac_in_cni_args_is_code_4(mac: str) -> None:
    with pytest.raises(CniError, match=f"CNI_ARGS: MAC: .*{mac}") as caught:
        read(cni_args=f"IgnoreUnknown=1;MAC={mac}")
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    assert read(command="DEL", cni_args=f"MAC={mac}").mac == ""


def test_a_chained_plugin_is_not_asked_for_the_mac_of_the_first_one() -> None:
    variables = environment(CNI_ARGS=f"MAC={MAC}")
    assert parse("veth-host", variables, stdin(ipam=None), with_ipam=False).mac == ""


def test_our_ipam_reads_the_default_route_of_another_s_plugin_object() -> None:
    for said in (True, False, None):
        request = parse("cni-ipam-neutron", environment(), stdin(type="ptp", defaultRoute=said))
        assert request.default_route is said
    with pytest.raises(CniError, match="defaultRoute: 'yes' is not allowed"):
        parse("cni-ipam-neutron", environment(), stdin(type="ptp", defaultRoute="yes"))


def test_check_needs_the_previous_result() -> None:
    assert "prevResult: is missing" in refused(command="CHECK").message


def test_del_forgives_what_it_does_not_need() -> None:
    request = read(
        command="DEL",
        prevResult={"ips": [{"address": "nonsense"}]},
        runtimeConfig={"ips": ["nonsense"], "mac": 7},
    )
    assert request.prev_result is None


@pytest.mark.parametrize(
    "changes",
    [
        {"mtu": 20},
        {"gatewayAddress": "169.254.1"},
        {"gatewayAddress": "a\0b"},
        {"x\0": 1},
        {"ipam": {"cloud": "a\0b", "stateDir": "/srv/state"}},
        {"ipam": {"quarantine": -1, "stateDir": "/srv/state"}},
        {"ipam": {"timeout": 0, "subnets": "x", "stateDir": "/srv/state"}},
    ],
)
def test_del_forgives_options_that_add_refuses(changes: dict[str, Any]) -> None:
    refused(**changes)
    request = read(command="DEL", **changes)
    assert request.configs == (Config(),)
    assert request.own_ipam is not None
    assert request.own_ipam.state_dir == changes.get("ipam", {}).get(
        "stateDir", "/var/lib/neutron-cni"
    )


def test_the_nic_of_the_main_plugin_is_that_of_ipam_unless_it_names_one() -> None:
    inherited = read(hostInterface="ens4").own_ipam
    assert inherited is not None
    assert inherited.host_interface == "ens4"
    own = read(hostInterface="ens4", ipam={"hostInterface": "ens5"}).own_ipam
    assert own is not None
    assert own.host_interface == "ens5"


def test_arguments_of_another_ipam_plugin_pass() -> None:
    foreign = {"type": "static", "addresses": []}
    assert read(cni_args="IP=10.0.0.7/24;GATEWAY=10.0.0.1", ipam=foreign).requested
    with pytest.raises(CniError, match="GATEWAY"):
        read(cni_args="IP=10.0.0.7/24;GATEWAY=10.0.0.1")


@pytest.mark.parametrize(
    "changes",
    [
        {"dummyName": "a/b"},
        {"dummyName": "dümmy"},
        {"dummyName": ".."},
        {"gatewayAddress": "0.0.0.0"},
        {"gatewayAddress": "224.0.0.1"},
    ],
)
def test_options_that_the_kernel_would_refuse_are_refused_before(changes: dict[str, Any]) -> None:
    assert next(iter(changes)) in refused(**changes).message


def test_gc_reads_what_must_stay() -> None:
    given = [{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1"}]
    changes: dict[str, Any] = {"cni.dev/valid-attachments": given}
    request = read(command="GC", **changes)
    assert request.valid == {Attachment("a", "eth0"), Attachment("b", "net1")}


def test_gc_reads_the_key_of_early_implementations() -> None:
    changes: dict[str, Any] = {"cni.dev/attachments": [{"containerID": "a", "ifname": "eth0"}]}
    assert read(command="GC", **changes).valid == {Attachment("a", "eth0")}


@pytest.mark.parametrize("rest", [b"}", b', "cni.dev/valid-attachments": null}'])
def test_gc_without_a_list_keeps_nothing_as_libcni_means_it(rest: bytes) -> None:
    assert read(stdin()[:-1] + rest, command="GC").valid == frozenset()


@pytest.mark.parametrize("given", [{}, [1], [None], [{"containerID": "a"}], "a", 0, False])
def test_gc_with_an_unreadable_list_deletes_nothing(given: Any) -> None:
    changes = {"cni.dev/valid-attachments": given}
    error = refused(command="GC", **changes)
    assert error.code == Code.INVALID_CONFIG
    assert "cni.dev/valid-attachments" in error.message


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
def test_del_forgives_numbers_that_are_none(number: str) -> None:
    text = stdin().decode().replace('"cniVersion"', f'"x": {number}, "cniVersion"').encode()
    assert refused(text).code in (Code.DECODING_FAILURE, Code.INVALID_CONFIG)
    assert read(text, "DEL").network == "pods"


def test_the_name_of_an_ipam_plugin_fits_a_file() -> None:
    assert "is not the name of an IPAM plugin" in refused(ipam={"type": "x" * 300}).message


def test_no_mtu_may_be_written_as_0() -> None:
    assert read(mtu=0).configs[0].mtu == 0


@pytest.mark.parametrize(
    "entry",
    [
        r'"\ud800": 1',
        r'"prevResult": {"ips": [], "\ud800": "\ud800"}',
        r'"hostInterface": "\ud800"',
        f'"x": {"9" * 5000}',
    ],
)
def test_del_forgives_what_only_a_lax_parser_takes(entry: str) -> None:
    text = stdin().decode().replace('"cniVersion"', f'{entry}, "cniVersion"').encode()
    assert read(text, "DEL").network == "pods"


def test_the_version_of_an_answer_is_found_in_whatever_del_can_read() -> None:
    text = stdin(cniVersion="0.4.0").decode().replace('"cniVersion"', '"x": NaN, "cniVersion"')
    assert version_of(text.encode()) == "0.4.0"

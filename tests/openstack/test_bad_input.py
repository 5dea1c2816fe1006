"""A wrong configuration or environment: an error that names the cause, and nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import Refused
from tests.openstack.plugin import call, config
from tests.openstack.state import wait_until_settled
from tests.unavailable import needs


def without(key: str) -> dict[str, Any]:
    """The configuration less one key."""
    return {name: value for name, value in config().items() if name != key}


@pytest.mark.parametrize(
    ("stdin", "code", "says"),
    [
        ("", 6, "the network configuration is empty"),
        ("{", 6, "not valid JSON"),
        ('{"name": "test",}', 6, "not valid JSON"),
        ("[]", 6, "must be a JSON object, and is a list"),
        (without("cniVersion"), 1, "cniVersion is missing"),
        (config("0.2.0"), 1, "cniVersion is '0.2.0'"),
        (config("9.9.9"), 1, "cniVersion is '9.9.9'"),
        ({**config(), "cniVersion": 1}, 6, "cniVersion must be a string"),
        (without("name"), 7, "name: is missing"),
        ({**config(), "name": "a/b"}, 7, "name: 'a/b' is not a network name"),
        (without("ipam"), 7, "ipam: is missing"),
        ({**config(), "ipam": {}}, 7, "ipam.type: is missing"),
        ({**config(), "ipam": []}, 7, "ipam: must be an object"),
        ({**config(), "ipam": {"type": "../host-local"}}, 7, "is not the name of an IPAM plugin"),
        ({**config(), "ipam": {"type": "veth-route"}}, 7, "ipam.type: 'veth-route'"),
        ({**config(), "ipam": {"type": "absent"}}, 50, "absent is not in CNI_PATH"),
        (config(mode="sideways"), 7, "ipam.mode: 'sideways' is not allowed"),
        (config(quarantine=-1), 7, "ipam.quarantine"),
        (config(subnets="tenant"), 7, "ipam.subnets"),
        ({**config(), "mtu": 10}, 7, "mtu must be 68 to 65535"),
        ({**config(), "gatewayAddress": "169.254.1"}, 7, "gatewayAddress"),
    ],
)
def test_a_wrong_configuration(
    refused: Refused, stdin: str | dict[str, Any], code: int, says: str
) -> None:
    assert says in refused(code, stdin)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"runtimeConfig": {"ips": ["10.10.0.5/99"]}}, 7, "'10.10.0.5/99' is not an address"),
        ({"runtimeConfig": {"ips": ["10.10.0.300/20"]}}, 7, "'10.10.0.300/20' is not an address"),
        ({"runtimeConfig": {"ips": ["10.10.0.5.6"]}}, 7, "'10.10.0.5.6' is not an IP address"),
        ({"args": {"cni": {"ips": ["fe80::/"]}}}, 7, "args.cni.ips[0]"),
        ({"runtimeConfig": {"ips": ["10.99.0.5/20"]}}, 7, "10.99.0.5 is in none of the subnets"),
        ({"runtimeConfig": {"ips": ["10.10.0.1/20"]}}, 103, "10.10.0.1 is the gateway of subnet"),
        ({"runtimeConfig": {"mac": "02:00"}}, 7, "'02:00' is no MAC"),
        ({"runtimeConfig": {"mac": "03:00:00:00:00:01"}}, 7, "the MAC of no single host"),
        ({"prevResult": {"cniVersion": "1.0.0"}}, 7, "must be the first of `plugins`"),
        ({"prevResult": {"ips": [{"address": "10.0.0.1"}]}}, 7, "prevResult.ips[0].address"),
    ],
)
def test_a_wrong_address_or_another_thing_that_a_runtime_adds(
    refused: Refused, more: dict[str, Any], code: int, says: str
) -> None:
    assert says in refused(code, config() | more)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"COMMAND": "EXPLODE"}, "CNI_COMMAND: 'EXPLODE' is not a CNI command"),
        ({"COMMAND": ""}, "CNI_COMMAND: is not set"),
        ({"CONTAINERID": ""}, "CNI_CONTAINERID: must be set"),
        ({"CONTAINERID": "a/b"}, "CNI_CONTAINERID: 'a/b' is not a container id"),
        ({"CONTAINERID": "a b"}, "CNI_CONTAINERID: 'a b' is not a container id"),
        ({"CONTAINERID": "-a"}, "CNI_CONTAINERID: '-a' is not a container id"),
        ({"CONTAINERID": "x" * 300}, "CNI_CONTAINERID: too long"),
        ({"IFNAME": ""}, "CNI_IFNAME: must be set"),
        ({"IFNAME": "sixteen-letters-"}, "CNI_IFNAME: 'sixteen-letters-' is too long"),
        ({"IFNAME": "a/b"}, "CNI_IFNAME: 'a/b' is not an interface name"),
        ({"IFNAME": "eth 0"}, "CNI_IFNAME: 'eth 0' is not an interface name"),
        ({"IFNAME": ".."}, "CNI_IFNAME: '..' is not an interface name"),
        ({"NETNS": ""}, "CNI_NETNS: must be set"),
        ({"NETNS": "/run/netns/absent"}, "cannot open the network namespace '/run/netns/absent'"),
        ({"NETNS": "/etc/hostname"}, "'/etc/hostname' is not a network namespace"),
        ({"NETNS": "/proc/self/ns/net"}, "is the node's own network namespace"),
        ({"ARGS": "nonsense"}, "CNI_ARGS: 'nonsense' is not of the form KEY=VALUE"),
        ({"ARGS": "IP=10.10.0"}, "CNI_ARGS: IP=10.10.0 is not an IP address"),
    ],
)
def test_a_wrong_environment(refused: Refused, environ: dict[str, str], says: str) -> None:
    assert says in refused(4, **environ)


def test_an_interface_of_somebody_elses_is_there_already(
    refused: Refused, lone_node: Node, lone_pod: str
) -> None:
    veth = ["ip", "-n", lone_pod, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0p"]
    lone_node.exec(veth)
    assert f"/run/netns/{lone_pod} already has an interface eth0" in refused(103)


def test_the_interface_of_another_container_is_there_already(
    lab: Lab, refused: Refused, lone_node: Node, lone_pod: str
) -> None:
    assert call(lone_node, "ADD", lone_pod).status == 0
    try:
        assert "already has an interface eth0" in refused(103, CONTAINERID="another")
    finally:
        call(lone_node, "DEL", lone_pod)
        wait_until_settled(lab, lone_node)


@needs("a kernel without ipvlan")
def test_a_kernel_without_ipvlan(refused: Refused) -> None:
    document = {**config(plugin="neutron-ipvlan"), "serviceCIDRs": ["10.96.0.0/12"]}
    said = refused(106, document, plugin="neutron-ipvlan")
    assert said == "this kernel has no ipvlan links"

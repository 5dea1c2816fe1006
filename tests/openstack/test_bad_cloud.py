"""A cloud that is away, refuses, is full or is not ours: an error says so, and nothing changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import MARK, Refused, new_node
from tests.openstack.plugin import NETWORK, call, config
from tests.openstack.state import snapshot, wait_until_settled

KEYSTONE_PORT = 35357
SECRET = "not-to-be-shown"
NO_SUCH_PORT = "7dbe3d4c-3ecb-4dac-bbac-ec15f25fc469"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"hostInterface": "nope0"}, 7, "the node has no interface 'nope0'"),
        ({"hostInterface": "lo"}, 101, "no Neutron port has an address of lo"),
        (
            {"portLookup": "id", "portId": NO_SUCH_PORT},
            101,
            f"the configured port {NO_SUCH_PORT} does not exist",
        ),
        ({"portLookup": "id"}, 7, "portLookup `id` needs `portId`"),
        ({"subnets": ["absent"]}, 107, "has no subnets named absent"),
        ({"cloud": "absent"}, 100, "no usable credentials for cloud absent"),
        ({"cloudsFile": "/absent.yaml"}, 100, "/absent.yaml: No such file"),
        ({"cloudsFile": "/etc/hostname"}, 100, "/etc/hostname has no mapping"),
        ({"stateDir": "/proc/nowhere"}, 105, "/proc/nowhere"),
        ({"mode": "port"}, 7, "needs `network`"),
        ({"mode": "port", "network": "absent"}, 107, "network absent does not exist"),
    ],
)
def test_an_option_that_names_what_does_not_exist(
    refused: Refused, options: dict[str, Any], code: int, says: str
) -> None:
    assert says in refused(code, config(**options))


def test_neutron_is_unreachable(refused: Refused, lone_node: Node) -> None:
    file = _clouds(lone_node, {"auth_type": "none", "endpoint": "http://172.24.4.2:9"})
    assert "Neutron is unreachable" in refused(11, config(cloudsFile=file))


def test_neutron_is_at_an_address_that_does_not_answer(refused: Refused, lone_node: Node) -> None:
    """An address of the node's own subnet that nobody has: not even a refusal comes back."""
    file = _clouds(lone_node, {"auth_type": "none", "endpoint": "http://10.10.15.252:9696"})
    assert "Neutron is unreachable" in refused(11, config(cloudsFile=file, timeout=2))


@pytest.fixture
def keystone(lone_node: Node) -> Iterator[str]:
    """A Keystone on the node that refuses everybody; its URL."""
    program = str(Path(__file__).with_name("fake_keystone.py"))
    words = ["python", "-IS", program, str(KEYSTONE_PORT)]
    with lone_node.popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"http://127.0.0.1:{KEYSTONE_PORT}/v3"
        finally:
            process.kill()


def test_the_application_credential_is_wrong(
    refused: Refused, lone_node: Node, keystone: str
) -> None:
    said = refused(100, config(cloudsFile=_wrong_credential(lone_node, keystone)))
    assert "the cloud refused our credentials" in said
    assert SECRET not in said


@pytest.mark.parametrize("plugin", ["cni-ipam-neutron", "veth-route"])
def test_status_says_that_the_cloud_refuses_our_credentials(
    lone_node: Node, keystone: str, plugin: str
) -> None:
    document = config("1.1.0", cloudsFile=_wrong_credential(lone_node, keystone))
    answer = call(lone_node, "STATUS", document=document, plugin=plugin, IFNAME="")
    assert "the cloud refused our credentials" in answer.refusal(50)
    assert SECRET not in answer.stdout + answer.stderr


def test_the_subnet_is_full(lab: Lab, refused: Refused, lone_node: Node) -> None:
    """Of a /29: two addresses to give away, and both given."""
    network = lab.connection().network
    subnet = network.create_subnet(
        name="t-full",
        description=MARK,
        network_id=lab.facts["networks"]["tenant"],
        ip_version=4,
        cidr="10.77.0.0/29",
        is_dhcp_enabled=False,
        allocation_pools=[{"start": "10.77.0.2", "end": "10.77.0.3"}],
    )
    document = config(subnets=["t-full"])
    names = ["t-full1", "t-full2"]
    try:
        for name in names:
            lone_node.exec(["ip", "netns", "add", name])
        given = {call(lone_node, "ADD", name, document).address for name in names}
        assert given == {"10.77.0.2", "10.77.0.3"}
        assert "no free address in subnet t-full (10.77.0.0/29)" in refused(102, document)
    finally:
        for name in names:
            call(lone_node, "DEL", name, document)
            lone_node.exec(["ip", "netns", "del", name], check=False)
        wait_until_settled(lab, lone_node)
        network.delete_subnet(subnet)


def test_the_vm_has_no_port(lab: Lab) -> None:
    """A node beside the cloud, whose NIC Neutron does not know."""
    bare = new_node(lab, "tbare", kind="bare")
    try:
        bare.exec(["ip", "netns", "add", "t-bare"])
        before = snapshot(lab, bare, "t-bare")
        answer = call(bare, "ADD", "t-bare")
        assert snapshot(lab, bare, "t-bare") == before
    finally:
        lab.remove_node("tbare")
    said = answer.refusal(101)
    assert f"no Neutron port has an address of eth0 ({bare.address}" in said


def test_two_ports_fit_the_vm(lab: Lab) -> None:
    """The same address and MAC again, on another network: Neutron allows that."""
    vm, network = new_node(lab, "ttwins"), lab.connection().network
    twin = network.create_network(name="t-twin", description=MARK)
    try:
        subnet = network.create_subnet(
            name="t-twin",
            description=MARK,
            network_id=twin.id,
            ip_version=4,
            cidr="10.10.0.0/20",
            is_dhcp_enabled=False,
        )
        port = network.create_port(
            name="t-twin",
            description=MARK,
            network_id=twin.id,
            mac_address=vm.facts["mac"],
            fixed_ips=[{"subnet_id": subnet.id, "ip_address": vm.address}],
        )
        vm.exec(["ip", "netns", "add", "t-twin"])
        before = snapshot(lab, vm, "t-twin")
        answer = call(vm, "ADD", "t-twin", config(portLookup="address"))
        assert snapshot(lab, vm, "t-twin") == before
        network.delete_port(port)
    finally:
        lab.remove_node("ttwins")
        for left in network.ports(network_id=twin.id):
            network.delete_port(left)
        network.delete_network(twin)
    said = answer.refusal(103)
    assert f"2 Neutron ports have address {vm.address}" in said
    assert port.id in said
    assert vm.port_id in said


def _wrong_credential(node: Node, keystone: str) -> str:
    """A clouds.yaml with an application credential that the Keystone does not know; its path."""
    credential = {
        "auth_type": "v3applicationcredential",
        "auth_url": keystone,
        "application_credential_id": "0123456789abcdef",
        "application_credential_secret": SECRET,
    }
    return _clouds(node, credential)


def _clouds(node: Node, lab: Mapping[str, str]) -> str:
    """A clouds.yaml with the cloud `lab` on the node; its path. JSON is YAML, too."""
    auth = {key: value for key, value in lab.items() if key != "auth_type"}
    cloud: dict[str, Any] = {"auth_type": lab["auth_type"], "auth": auth}
    if "endpoint" in lab:
        cloud["network_endpoint_override"] = lab["endpoint"]
    path = f"/run/{NETWORK}-clouds.yaml"
    text = json.dumps({"clouds": {"lab": cloud}})
    node.exec(["sh", "-c", f"cat > {path}"], input=text)
    return path

"""The plugins as programs: what a runtime asks, and what `veth-route` answers and does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, LabError, Node
from neutron_cni_lab.demo import Pod, traffic
from tests.openstack.conftest import new_name
from tests.openstack.modes import forget_looks
from tests.openstack.plugin import BIN, NETWORK, Answer, call, config
from tests.openstack.state import (
    fixed_ips,
    held,
    leases,
    pod_routes,
    wait_for,
    wait_until_settled,
)

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


class Steady(NamedTuple):
    """A container that is attached, for all tests of this module that leave it as it is."""

    name: str
    answer: Answer

    @property
    def check(self) -> dict[str, Any]:
        """The configuration that a runtime sends with CHECK."""
        return config() | {"prevResult": self.answer.json}


@pytest.fixture(scope="module")
def steady(lab: Lab, node1: Node) -> Iterator[Steady]:
    """See `Steady`."""
    name = new_name()
    node1.exec(["ip", "netns", "add", name])
    yield Steady(name, call(node1, "ADD", name))
    call(node1, "DEL", name)
    node1.exec(["ip", "netns", "del", name])
    wait_until_settled(lab, node1)


@pytest.fixture
def attached(lab: Lab, node1: Node, netns: str) -> Iterator[Answer]:
    """The answer to ADD of the container `netns`, which is deleted after the test."""
    yield call(node1, "ADD", netns)
    call(node1, "DEL", netns)
    wait_until_settled(lab, node1)


def eth0_addresses(node: Node, netns: str) -> list[str]:
    """The IPv4 addresses of eth0 in the namespace, with prefix; empty without an eth0."""
    words = ["ip", "-n", netns, "-4", "-j", "addr", "show", "dev", "eth0"]
    links = json.loads(node.exec(words, check=False).stdout or "[]")
    return [f"{i['local']}/{i['prefixlen']}" for link in links for i in link.get("addr_info", [])]


def test_cnitool_adds_checks_and_deletes(
    lab: Lab, node1: Node, make_pod: Callable[[Node], Pod]
) -> None:
    pod = make_pod(node1)
    assert pod.address in fixed_ips(lab, node1)
    assert traffic.ping(pod, "10.10.0.1").answered == 3
    pod.check()
    pod.delete()
    assert pod.name not in node1.exec(["ip", "netns"]).stdout
    with pytest.raises(LabError, match="prevResult: is missing"):
        pod.check()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("ip -n {pod} addr flush dev eth0", "{address}"),
        ("ip -n {pod} route del default", "default"),
        ("ip -n {pod} link set eth0 down", "eth0"),
        ("ip route del {address}", "{address}"),
        ("ip -n {pod} link del eth0", "eth0"),
    ],
)
def test_check_names_what_was_damaged_and_a_repeated_add_mends_it(
    node1: Node, steady: Steady, damage: str, named: str
) -> None:
    words = {"pod": steady.name, "address": steady.answer.address}
    node1.exec(damage.format(**words).split())
    error = call(node1, "CHECK", steady.name, steady.check)
    assert (error.status, error.json["code"]) == (1, 104)
    assert named.format(**words) in error.json["msg"]

    assert call(node1, "ADD", steady.name).json == steady.answer.json

    assert call(node1, "CHECK", steady.name, steady.check) == Answer(0, "", "")
    node1.exec(["ip", "netns", "exec", steady.name, "ping", "-c1", "-w30", "10.10.0.1"])


def test_check_notices_that_neutron_has_taken_the_address_off(
    lab: Lab, node1: Node, netns: str, attached: Answer
) -> None:
    network = lab.connection().network
    port = network.get_port(node1.port_id)
    left = [item for item in port.fixed_ips if item["ip_address"] != attached.address]
    network.update_port(port, fixed_ips=left)
    error = call(node1, "CHECK", netns, config() | {"prevResult": attached.json})
    assert error.json["code"] == 104
    assert f"{attached.address} is not among the fixed IPs of the VM's" in error.json["msg"]


def test_add_makes_what_its_result_says(lab: Lab, node1: Node, steady: Steady) -> None:
    result = steady.answer.json
    host, pod = result["interfaces"]
    assert pod["sandbox"] == f"/run/netns/{steady.name}"
    assert eth0_addresses(node1, steady.name) == [f"{steady.answer.address}/20"]
    assert held(lab, node1)[steady.name] == {steady.answer.address}
    assert pod_routes(node1)[steady.answer.address] == host["name"]
    shown = json.loads(node1.exec(["ip", "-n", steady.name, "-j", "link", "show", "eth0"]).stdout)
    assert (shown[0]["address"], shown[0]["mtu"]) == (pod["mac"], node1.facts["mtu"])


def test_a_repeated_add_gives_the_same_result_and_takes_no_second_address(
    lab: Lab, node1: Node, steady: Steady
) -> None:
    before = fixed_ips(lab, node1)
    assert call(node1, "ADD", steady.name).json == steady.answer.json
    assert fixed_ips(lab, node1) == before
    assert eth0_addresses(node1, steady.name) == [f"{steady.answer.address}/20"]


def test_a_second_interface_of_the_pod_leaves_the_first_as_it_is(
    lab: Lab, node1: Node, steady: Steady
) -> None:
    document = config("1.1.0")
    before = fixed_ips(lab, node1)
    answer = call(node1, "ADD", steady.name, document, IFNAME="net1")
    try:
        result = answer.json
        assert result["routes"] == [{"dst": "10.10.0.0/20", "gw": "169.254.1.1"}]
        assert traffic.ping(node1, answer.address).answered == 3
        second = {**document, "prevResult": result}
        assert call(node1, "CHECK", steady.name, second, IFNAME="net1") == Answer(0, "", "")
        assert call(node1, "CHECK", steady.name, steady.check) == Answer(0, "", "")
    finally:
        assert call(node1, "DEL", steady.name, document, IFNAME="net1").status == 0
    wait_until_settled(lab, node1)
    assert fixed_ips(lab, node1) == before
    assert "net1" not in node1.exec(["ip", "-n", steady.name, "link"]).stdout
    assert call(node1, "CHECK", steady.name, steady.check) == Answer(0, "", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_result_has_the_shape_of_its_version(node1: Node, steady: Steady, version: str) -> None:
    result = call(node1, "ADD", steady.name, config(version)).json
    assert result["cniVersion"] == version
    assert result["interfaces"][1]["name"] == "eth0"
    [address] = result["ips"]
    assert address.get("version") == ("4" if version < "1.0.0" else None)
    assert address["interface"] == 1
    assert address["address"] == f"{steady.answer.address}/32"
    mtu = node1.facts["mtu"] if version == "1.1.0" else None
    assert [item.get("mtu") for item in result["interfaces"]] == [mtu, mtu]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]


def test_del_twice_and_del_of_the_unknown_succeed(
    lab: Lab, node1: Node, netns: str, attached: Answer
) -> None:
    assert call(node1, "DEL", netns) == Answer(0, "", "")
    assert call(node1, "DEL", netns) == Answer(0, "", "")
    assert call(node1, "DEL", "never-seen").status == 0
    wait_for(lambda: attached.address not in fixed_ips(lab, node1), "the address to go")


def test_del_with_the_namespace_gone_gives_the_address_back_and_removes_the_route(
    lab: Lab, node1: Node, netns: str, attached: Answer
) -> None:
    node1.exec(["ip", "netns", "del", netns])
    assert call(node1, "DEL", netns).status == 0
    assert attached.address not in pod_routes(node1)
    wait_for(lambda: attached.address not in fixed_ips(lab, node1), "the address to go")


def test_del_without_a_namespace_is_what_a_runtime_sends_after_a_reboot(
    lab: Lab, node1: Node, netns: str, attached: Answer
) -> None:
    assert call(node1, "DEL", netns, NETNS="").status == 0
    assert eth0_addresses(node1, netns) == []
    wait_for(lambda: attached.address not in fixed_ips(lab, node1), "the address to go")


def test_an_address_that_was_given_back_can_be_requested_at_once(
    lab: Lab, node1: Node, netns: str, attached: Answer
) -> None:
    call(node1, "DEL", netns)
    wait_until_settled(lab, node1)
    document = config() | {"runtimeConfig": {"ips": [attached.address]}}
    assert call(node1, "ADD", netns, document).address == attached.address


@pytest.mark.parametrize("plugin", ["veth-route", "cni-ipam-neutron"])
@pytest.mark.parametrize("document", ["", *(json.dumps({"cniVersion": v}) for v in VERSIONS)])
def test_version_is_answered_whatever_is_asked(node1: Node, plugin: str, document: str) -> None:
    answer = call(node1, "VERSION", document=document, plugin=plugin)
    assert answer.status == 0
    assert answer.json["supportedVersions"] == list(VERSIONS)
    assert answer.json["cniVersion"] == (
        json.loads(document)["cniVersion"] if document else "1.1.0"
    )


def test_status_succeeds_and_says_nothing(node1: Node) -> None:
    assert call(node1, "STATUS", document=config("1.1.0")) == Answer(0, "", "")


def test_our_ipam_as_a_program_serves_another_main_plugin(
    lab: Lab, node1: Node, netns: str
) -> None:
    """Upstream's `ptp`, which calls `cni-ipam-neutron` by its name."""
    document = config(plugin="ptp")
    done = node1.exec(
        [f"{BIN}/ptp"],
        input=json.dumps(document),
        env={
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": netns,
            "CNI_NETNS": f"/run/netns/{netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": BIN,
        },
    )
    try:
        address = json.loads(done.stdout)["ips"][0]["address"]
        assert eth0_addresses(node1, netns) == [address]
        assert address.partition("/")[0] in fixed_ips(lab, node1)
    finally:
        call(node1, "DEL", netns, document, plugin="ptp")
        wait_until_settled(lab, node1)
    assert address.partition("/")[0] not in fixed_ips(lab, node1)


def test_a_third_partys_ipam_is_executed(lab: Lab, node1: Node, netns: str) -> None:
    """Upstream's `host-local` under `veth-route`: no word with Neutron."""
    before = fixed_ips(lab, node1), leases(lab, node1)
    ranges = [[{"subnet": "10.99.0.0/24"}]]
    folder = f"/run/{netns}-host-local"
    node1.exec(["rm", "-rf", folder])  # it goes on where it was the last time
    document = config() | {"ipam": {"type": "host-local", "ranges": ranges, "dataDir": folder}}
    result = call(node1, "ADD", netns, document)
    try:
        assert result.address == "10.99.0.2"
        assert eth0_addresses(node1, netns) == ["10.99.0.2/24"]
        assert traffic.ping(node1, "10.99.0.2").answered == 3
        taken = node1.exec(["ls", f"{folder}/{NETWORK}"]).stdout.split()
        assert "10.99.0.2" in taken
        checked = call(node1, "CHECK", netns, {**document, "prevResult": result.json})
        assert checked == Answer(0, "", "")
    finally:
        deleted = call(node1, "DEL", netns, {**document, "prevResult": result.json})
    assert deleted == Answer(0, "", "")
    assert "10.99.0.2" not in node1.exec(["ls", f"{folder}/{NETWORK}"]).stdout.split()
    assert "10.99.0.2" not in pod_routes(node1)
    assert (fixed_ips(lab, node1), leases(lab, node1)) == before


def test_the_folder_that_the_runtime_was_in_may_be_deleted(lab: Lab, node1: Node) -> None:
    """STATUS asks Neutron, by libraries that look for files where they are."""
    forget_looks(lab, node1)
    variables = {"CNI_COMMAND": "STATUS", "CNI_PATH": BIN}
    script = f"cd $(mktemp -d) && rmdir $PWD && exec {BIN}/veth-route"
    done = node1.exec(["sh", "-c", script], input=json.dumps(config("1.1.0")), env=variables)
    assert (done.returncode, done.stdout) == (0, "")

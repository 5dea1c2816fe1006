"""NICs that host-device-plus does not take from the node: why, in words, and nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neutron_cni.netlink import nic_records
from neutron_cni.values.errors import CniError, Code
from tests.kernel.moved import NIC, Node, add_nic
from tests.kernel.world import World, run


@pytest.fixture(autouse=True)
def _records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nic_records, "FOLDER", tmp_path / "nics")


@pytest.fixture
def node(world: World) -> Node:
    """A node with a NIC to give away."""
    add_nic(world)
    return Node(world)


def refusal(node: Node, name: str = "pod1", **options: Any) -> CniError:
    """The error of ADD, which must leave node and pod as they were."""
    node.attachment(name)
    node.options = options or node.options
    before = node.snapshot(), node.world.snapshot(name)
    with pytest.raises(CniError) as caught:
        node.add(name)
    assert (node.snapshot(), node.world.snapshot(name)) == before
    assert caught.value.details
    return caught.value


def test_the_nic_of_the_default_route(node: Node) -> None:
    error = refusal(node, device="up0")
    assert error.code == Code.INVALID_CONFIG
    assert "the NIC up0 has the node's default route (IPv4 and IPv6)" in error.message


def test_a_nic_that_does_not_exist(node: Node) -> None:
    error = refusal(node, device="ens9")
    assert (error.code, error.message) == (Code.INVALID_CONFIG, "the node has no NIC ens9")


@pytest.mark.parametrize(
    "options", [{"mac": "02:00:00:00:00:99"}, {"pciBusID": "0000:00:1f.6"}, {"netVFs": ["ens4"]}]
)
def test_nics_that_other_options_name_in_vain(node: Node, options: dict[str, Any]) -> None:
    error = refusal(node, **options)
    assert error.code in (Code.INVALID_CONFIG, Code.EXHAUSTED)
    assert "the node has no" in error.message


def test_no_nic_is_named(node: Node) -> None:
    error = refusal(node, mtu=1400)
    assert error.code == Code.INVALID_CONFIG
    assert "device is missing" in error.message


def test_a_nic_that_another_pod_has_is_named_with_that_pod(node: Node) -> None:
    node.add("pod1")
    error = refusal(node, "pod2")
    assert error.code == Code.TRY_AGAIN
    assert f"the NIC {NIC} is in another pod: it is eth0 of container" in error.message
    assert node.world.full("pod1") in error.message
    assert node.world.path("pod1") in error.message


def test_a_nic_whose_pods_namespace_died_is_for_del_or_gc_first(node: Node) -> None:
    node.add("pod1")
    node.falls_back("pod1", "eth0")
    error = refusal(node, "pod2")
    assert error.code == Code.TRY_AGAIN
    assert "whose namespace is gone" in error.message
    node.collect("pod2")
    node.add("pod2")


def test_a_mac_that_two_nics_have(node: Node) -> None:
    add_nic(node.world, "ens5", "r2")
    mac = node.nic()["address"]
    run("ip", "-n", node.world.full("node"), "link", "set", "ens5", "address", mac)
    error = refusal(node, mac=mac.upper())
    assert error.code == Code.CONFLICT
    assert f"the node has 2 NICs with the MAC {mac}: {NIC}, ens5" in error.message


def test_a_nic_that_one_mac_means_is_taken(node: Node) -> None:
    node.options = {"mac": node.nic()["address"].upper()}
    assert node.check(node.add()) == []


def test_a_port_of_a_bridge(node: Node) -> None:
    node.world.batch("node", "link add br0 type bridge", f"link set {NIC} master br0")
    error = refusal(node)
    assert error.code == Code.INVALID_CONFIG
    assert f"the NIC {NIC} is a port of br0" in error.message


def test_a_nic_with_links_upon_it(node: Node) -> None:
    node.world.batch("node", f"link add link {NIC} name m0 type macvlan")
    error = refusal(node)
    assert error.code == Code.INVALID_CONFIG
    assert f"the NIC {NIC} has links upon it (m0)" in error.message


def test_a_nic_with_links_upon_it_in_pods(node: Node) -> None:
    """The kernel would leave them, and what they send would leave by the NIC in another's pod."""
    node.world.add("other")
    netns = node.world.full("other")
    node.world.batch("node", f"link add link {NIC} name m0 netns {netns} type macvlan")
    assert "has links upon it (m0 of a pod)" in refusal(node).message


def test_a_link_that_belongs_to_its_namespace(node: Node) -> None:
    node.world.batch("node", "link add br0 type bridge")
    error = refusal(node, device="br0")
    assert error.code == Code.KERNEL
    assert "bridges" in error.details


def test_status_says_what_is_wrong_with_the_nic(node: Node) -> None:
    node.status()
    node.options = {"device": "ens9"}
    with pytest.raises(CniError, match="the node has no NIC ens9") as caught:
        node.status()
    assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE


def test_status_does_not_fail_as_a_pod_has_the_nic(node: Node) -> None:
    """Runtimes would evict the pod."""
    node.add()
    node.status()
    (note,) = node.notes[-1:]
    assert "is in another pod" in note

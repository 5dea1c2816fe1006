"""host-device-plus: which NIC is the attachment's, where pods or other NICs look like it."""

from __future__ import annotations

from functools import partial

import pytest

from neutron_cni.netlink import nic_records
from tests.kernel.moved import NIC, Node, add_nic, lease, show_as_hardware
from tests.kernel.world import World, run

OTHER = "ens5"


@pytest.fixture
def node(world: World) -> Node:
    """A node with two NICs to give away."""
    add_nic(world)
    add_nic(world, OTHER, "r2")
    return Node(world)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """NICs are devices, by which the kernel tells them apart."""
    show_as_hardware(monkeypatch)


def takes(node: Node, pod: str, nic: str, ifname: str = "eth0") -> None:
    node.options = {"device": nic}
    known = node.attachment(pod, ifname)
    which = "pod1" if ifname == "eth0" else "pod2"
    node.here(partial(node.add_here, known, lease(which)))


def alias(node: Node, pod: str, link: str = "eth0") -> str:
    (found,) = node.world.ip(pod, "link", "show", link)
    return str(found["ifalias"])


def twin(node: Node) -> None:
    """The other NIC gets the MAC of the first, as a bond's members and a VF's stand-in have."""
    mac = node.nic()["address"]
    run("ip", "-n", node.world.full("node"), "link", "set", OTHER, "address", mac)


@pytest.mark.parametrize("alias_is_there", [True, False])
@pytest.mark.parametrize("kind", ["hardware", "veth"])
def test_another_nic_with_the_mac_is_not_taken_for_the_pods(
    node: Node, request: pytest.FixtureRequest, kind: str, alias_is_there: bool
) -> None:
    if kind == "hardware":
        request.getfixturevalue("hardware")
    twin(node)
    before = node.snapshot()
    takes(node, "pod1", NIC)
    index = node.nic(OTHER)["ifindex"]
    if not alias_is_there:
        node.world.batch("pod1", "link set eth0 alias x")
    node.delete(netns=False)
    assert node.nic(OTHER)["ifindex"] == index
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_pod_can_not_have_its_two_nics_change_places(node: Node) -> None:
    before = node.snapshot()
    index = node.nic()["ifindex"]
    takes(node, "pod1", NIC)
    takes(node, "pod1", OTHER, "net1")
    first, second = alias(node, "pod1"), alias(node, "pod1", "net1")
    node.world.do("pod1", "ip", "link", "set", "eth0", "alias", second)
    node.world.do("pod1", "ip", "link", "set", "net1", "alias", first)
    node.collect()
    assert node.nic()["ifindex"] == index
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_nic_that_falls_back_with_anothers_alias_is_its_own_pods(node: Node) -> None:
    before = node.snapshot()
    index = node.nic(OTHER)["ifindex"]
    takes(node, "pod1", NIC)
    takes(node, "pod2", OTHER)
    node.world.do("pod1", "ip", "link", "set", "eth0", "alias", alias(node, "pod2"))
    node.falls_back("pod1", "dev7")
    node.delete("pod2")
    assert node.nic(OTHER)["ifindex"] == index
    node.delete(netns=False)
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_nic_that_falls_back_with_anothers_mac_is_its_own_pods(node: Node) -> None:
    before = node.snapshot()
    mac, index = node.nic()["address"], node.nic()["ifindex"]
    takes(node, "pod1", NIC)
    takes(node, "pod2", OTHER)
    node.world.batch("pod2", "link set eth0 alias x", "link set eth0 address " + mac)
    node.falls_back("pod2", "dev7")
    node.delete(netns=False)
    assert node.nic()["ifindex"] == index
    # By the old name, too: the first pod has gone, and the other gives the second NIC back.
    known = nic_records.list_all
    assert len(node.here(known)) == 1
    node.collect()
    assert node.snapshot() == before


def test_two_ports_of_one_device_do_not_change_places(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_as_hardware(monkeypatch, device="0000:05:00.0")
    before = node.snapshot()
    takes(node, "pod1", NIC)
    takes(node, "pod1", OTHER, "net1")
    first, second = alias(node, "pod1"), alias(node, "pod1", "net1")
    node.world.do("pod1", "ip", "link", "set", "eth0", "alias", second)
    node.world.do("pod1", "ip", "link", "set", "net1", "alias", first)
    node.collect()
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_nic_whose_driver_took_another_mac_for_the_permanent_one_comes_home(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = node.snapshot()
    takes(node, "pod1", NIC)
    show_as_hardware(monkeypatch, permanent="02:00:00:00:00:99")
    node.delete()
    assert node.snapshot() == before


CHANGES = [
    ("link set eth0 alias x", "link set eth0 address 02:00:00:00:00:77"),
    ("link set eth0 down", f"link set eth0 name {NIC}", f"link set {NIC} alias x"),
]


@pytest.mark.usefixtures("hardware")
@pytest.mark.parametrize("namespace_dies", [True, False])
@pytest.mark.parametrize("changes", CHANGES, ids=["alias and MAC", "alias and name"])
def test_a_nic_comes_home_whatever_a_pod_made_of_its_looks(
    node: Node, changes: tuple[str, ...], namespace_dies: bool
) -> None:
    before = node.snapshot()
    takes(node, "pod1", NIC)
    node.world.batch("pod1", *changes)
    if namespace_dies:
        name = NIC if NIC in changes[-1] else "eth0"
        node.world.batch("pod1", f"link set {name} netns {node.world.full('node')}")
        node.world.remove("pod1")
    node.delete(netns=not namespace_dies)
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_nic_that_another_attachment_has_got_since_stays_with_it(node: Node) -> None:
    """The former one's DEL comes late, and its namespace's path leads to the new pod by now."""
    takes(node, "pod1", NIC)
    former = alias(node, "pod1")
    run("ip", "-n", node.world.full("pod1"), "link", "set", "eth0", "alias", "x")
    node.falls_back("pod1", "eth0")
    run("ip", "-n", node.world.full("node"), "link", "set", "eth0", "name", NIC)
    takes(node, "pod1", NIC, "net1")
    node.delete()
    assert alias(node, "pod1", "net1") != former

"""host-device-plus: a NIC falls back to the node after the DEL that came for it.

The kernel takes a namespace apart some time after its name goes, and DEL may come between the two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neutron_cni.netlink import nic_records
from tests.kernel.moved import Node, add_nic, show_as_hardware
from tests.kernel.world import World, run


@pytest.fixture
def node(world: World) -> Node:
    """A node with a NIC to give away."""
    add_nic(world)
    return Node(world)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the kernel keeps what a namespace had when it dies."""
    show_as_hardware(monkeypatch)


@contextmanager
def dying(node: Node) -> Iterator[Callable[[], None]]:
    """The pod's namespace has no name any more, and the kernel has not begun; it does so where the
    value is called, and the NIC is on the node then."""
    descriptor = os.open(node.world.path("pod1"), os.O_RDONLY)
    try:
        node.world.remove("pod1")

        def falls_back() -> None:
            within = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{descriptor}", "ip", "link", "set")
            run(*within, "eth0", "down")
            run(*within, "eth0", "netns", node.world.full("node"))

        yield falls_back
    finally:
        os.close(descriptor)


def adds_and_deletes_another(node: Node) -> None:
    assert node.check(node.add("pod2"), "pod2") == []
    node.delete("pod2")


def names_a_nic_that_is_not_there(node: Node) -> None:
    """A DEL of another attachment, which has nothing to do."""
    node.delete("pod2")


NEXT = [Node.status, Node.collect, adds_and_deletes_another, names_a_nic_that_is_not_there]


@pytest.mark.usefixtures("hardware")
@pytest.mark.parametrize("call", NEXT, ids=lambda call: call.__name__)
def test_the_next_call_gives_it_all_back(
    node: Node, records: Path, call: Callable[[Node], None]
) -> None:
    before = node.snapshot()
    node.add(mtu=1300)
    with dying(node) as falls_back:
        node.delete(netns=False)
        node.delete(netns=False)
        falls_back()
        assert node.nic("eth0")["ifalias"]
        call(node)
    assert node.snapshot() == before
    assert list(records.iterdir()) == []


@pytest.mark.usefixtures("hardware")
def test_calls_that_come_before_it_wait_for_nothing_and_forget_nothing(node: Node) -> None:
    add_nic(node.world, "ens5", "r2")
    before = node.snapshot()
    node.add()
    with dying(node) as falls_back:
        node.delete(netns=False)
        node.options = {"device": "ens5"}
        adds_and_deletes_another(node)
        node.collect()
        node.status()
        falls_back()
        node.collect()
    assert node.snapshot() == before


@pytest.mark.usefixtures("hardware")
def test_a_nic_that_never_comes_is_forgotten_in_the_end(
    node: Node, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody unplugged it, for one."""
    node.add()
    node.world.remove("pod1")
    node.delete(netns=False)
    assert len(list(records.iterdir())) == 1
    monkeypatch.setattr(nic_records, "LATE_SECONDS", -1.0)
    node.collect()
    assert list(records.iterdir()) == []


@pytest.mark.usefixtures("hardware")
def test_what_can_not_be_given_back_fails_no_other_call(
    node: Node, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_nic(node.world, "ens5", "r2")
    node.add(mtu=1300)
    with dying(node) as falls_back:
        node.delete(netns=False)
        falls_back()
    (path,) = records.iterdir()
    path.write_text(path.read_text().replace('"mtu":1450', '"mtu":99999999'))
    node.options = {"device": "ens5"}
    assert node.check(node.add("pod2"), "pod2") == []
    assert any("a NIC that is late" in note for note in node.notes)

"""host-device-plus, killed at any step: the next call repairs it, and no NIC is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from neutron_cni.cni.environment import Command
from neutron_cni.netlink import nic_records, sysctl
from neutron_cni.netlink.plan import Sysctl
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from tests.kernel.moved import Node, add_nic, lease
from tests.kernel.world import ChildDied, World, inside_child

MOST = 60
"""More steps than any of the calls takes; the tests check that."""


@pytest.fixture
def node(world: World) -> Node:
    """A node with a NIC to give away, and a pod."""
    add_nic(world)
    world.add("pod1")
    return Node(world)


def dies_at(step: int, action: Callable[[], object]) -> Callable[[], None]:
    """`action` in a process that ends, as by kill -9, before its `step`th change of the kernel or
    of what the node remembers."""

    def body() -> None:
        left = [step]

        def count() -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        attempt, write_of = Rtnl.attempt, sysctl.write
        write, forget = nic_records.write, nic_records.forget

        def dying_attempt(self: Rtnl, requests: Sequence[Request]) -> list[Outcome]:
            count()
            return attempt(self, requests)

        def dying_write_of(setting: Sysctl) -> None:
            count()
            write_of(setting)

        def dying_write(record: nic_records.NicRecord) -> None:
            count()
            write(record)

        def dying_forget(owner: str) -> None:
            count()
            forget(owner)

        Rtnl.attempt = dying_attempt  # type: ignore[method-assign]
        sysctl.write = dying_write_of
        nic_records.write, nic_records.forget = dying_write, dying_forget
        action()

    return body


def crashed(node: Node, step: int, action: Callable[[], object]) -> bool:
    """Whether `action`, on the node, died at that step (else it was through before)."""
    try:
        inside_child(node.world.path("node"), dies_at(step, action))
    except ChildDied:
        return True
    return False


def adding(node: Node) -> Callable[[], object]:
    known = node.attachment("pod1")
    return lambda: node.add_here(known, lease("pod1"))


def deleting(node: Node) -> Callable[[], object]:
    known = node.attachment("pod1")
    return lambda: node.kernel(Command.DEL, known).detach(lease("pod1"))


def rounds(node: Node, action: Callable[[], object], repair: Callable[[int], None]) -> int:
    """How many steps `action` takes; after a crash at each of them `repair` is called."""
    steps = 0
    while crashed(node, steps, action):
        repair(steps)
        steps += 1
        assert steps < MOST
    return steps


def test_the_next_add_completes_an_add_that_was_killed(node: Node) -> None:
    before = node.snapshot()

    def repair(step: int) -> None:
        assert node.check(node.add()) == [], f"killed at step {step}"
        node.delete()
        assert node.snapshot() == before, f"killed at step {step}"

    assert rounds(node, adding(node), repair) > 8


def test_del_takes_back_an_add_that_was_killed(node: Node, records: Path) -> None:
    before = node.snapshot()

    def repair(step: int) -> None:
        node.delete()
        assert node.snapshot() == before, f"killed at step {step}"
        assert not records.is_dir() or list(records.iterdir()) == []

    assert rounds(node, adding(node), repair) > 8


def test_gc_takes_back_an_add_that_was_killed(node: Node, records: Path) -> None:
    before = node.snapshot()

    def repair(step: int) -> None:
        node.collect()
        assert node.snapshot() == before, f"killed at step {step}"
        assert not records.is_dir() or list(records.iterdir()) == []

    assert rounds(node, adding(node), repair) > 8


@pytest.mark.parametrize("with_netns", [True, False])
def test_the_next_del_completes_a_del_that_was_killed(node: Node, with_netns: bool) -> None:
    before = node.snapshot()
    node.add()

    def repair(step: int) -> None:
        node.delete(netns=with_netns)
        assert node.snapshot() == before, f"killed at step {step}"
        node.add()

    assert rounds(node, deleting(node), repair) > 2


def test_an_add_after_a_del_that_was_killed_has_the_nic_again(node: Node) -> None:
    before = node.snapshot()
    node.add()

    def repair(step: int) -> None:
        assert node.check(node.add()) == [], f"killed at step {step}"

    assert rounds(node, deleting(node), repair) > 2
    node.delete()
    assert node.snapshot() == before


def test_another_pod_gets_the_nic_once_gc_has_cleaned_up_after_a_killed_del(node: Node) -> None:
    node.add()

    def repair(step: int) -> None:
        node.collect("pod2")
        assert node.check(node.add("pod2"), "pod2") == [], f"killed at step {step}"
        node.delete("pod2")
        node.add()

    assert rounds(node, deleting(node), repair) > 2


def test_two_pods_that_want_the_nic_at_once_get_it_once(node: Node) -> None:
    """Both have looked before one of them moves it."""
    first, second = (node.kernel(Command.ADD, node.attachment(name)) for name in ("pod1", "pod2"))
    for kernel in (first, second):
        node.here(kernel.inspect)
    node.here(lambda: first.attach(lease("pod1"), Deadline.after(20)))
    with pytest.raises(CniError, match="move the NIC ens4 into the pod") as caught:
        node.here(lambda: second.attach(lease("pod2"), Deadline.after(20)))
    assert "another pod has got it" in caught.value.details
    assert [x["ifname"] for x in node.world.ip("pod2", "link", "show")] == ["lo"]
    assert node.world.pings("pod1", "10.20.0.1")

"""A pod that version 0.1.0 attached, whose link's alias names no part, under this version."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Invocation, Request
from neutron_cni.engine.kernel import Kernel
from neutron_cni.plugins import RECIPES
from neutron_cni.plugins.veth_route import Config
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from tests.kernel.pods import Pod, make_pod
from tests.kernel.world import World, inside

T = TypeVar("T")


def kernel(pod: Pod, valid: frozenset[Attachment] = frozenset()) -> Kernel:
    """veth-route's data plane for a request about the pod."""
    request = Request(
        plugin="veth-route",
        command=Command.ADD,
        version="1.1.0",
        network="net1",
        attachment=pod.attachment,
        configs=(Config(),),
        ipam=None,
        invocation=Invocation({}, b""),
        valid=valid,
    )
    return Kernel(request, RECIPES["veth-route"].pages(), lambda note: None)


@pytest.fixture
def old(world: World) -> Pod:
    """The pod, as that version left it."""
    pod = make_pod(world, "pod1")
    pod.apply()
    alias = f"neutron-cni net1 {pod.attachment.container_id} eth0"
    world.text("node", "link", "set", "dev", pod.host_link, "alias", alias)
    return pod


def on_node(pod: Pod, call: Callable[[Kernel], T], **more: frozenset[Attachment]) -> T:
    return inside(pod.world.path("node"), lambda: call(kernel(pod, **more)))


def links(world: World) -> set[str]:
    return {item["ifname"] for item in world.ip("node", "link", "show")}


def test_check_finds_it_as_add_left_it(old: Pod) -> None:
    assert on_node(old, lambda plane: plane.differences(old.lease)) == []


def test_del_takes_it_down(world: World, old: Pod) -> None:
    on_node(old, lambda plane: plane.detach(old.lease))
    assert old.host_link not in links(world)


def test_gc_removes_it_once_its_runtime_does_not_know_it(world: World, old: Pod) -> None:
    kept = Attachment(old.attachment.container_id, "eth0")
    on_node(old, lambda plane: plane.collect(), valid=frozenset({kept}))
    assert old.host_link in links(world)
    on_node(old, lambda plane: plane.collect())
    assert old.host_link not in links(world)


def test_a_repeated_add_takes_it_over_and_names_the_part(world: World, old: Pod) -> None:
    assert on_node(old, lambda plane: plane.inspect())
    on_node(old, lambda plane: plane.attach(old.lease, Deadline.after(20)))
    (link,) = world.ip("node", "link", "show", "dev", old.host_link)
    assert link["ifalias"] == f"neutron-cni net1 {old.attachment.container_id} eth0 veth-route"


def test_gc_of_one_type_leaves_anothers_links_alone(world: World, old: Pod) -> None:
    alias = f"neutron-cni net1 {old.attachment.container_id} eth0 another-part"
    world.text("node", "link", "set", "dev", old.host_link, "alias", alias)
    on_node(old, lambda plane: plane.collect())
    assert old.host_link in links(world)


def test_the_link_of_another_network_is_not_taken_for_ours(world: World, old: Pod) -> None:
    alias = f"neutron-cni net2 {old.attachment.container_id} eth0"
    world.text("node", "link", "set", "dev", old.host_link, "alias", alias)
    on_node(old, lambda plane: plane.detach(old.lease))
    assert old.host_link in links(world)

"""Crashes half-way, repetition, and what is in the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from neutron_cni.netlink import apply as applier
from neutron_cni.netlink import observe, sysctl
from neutron_cni.netlink.plan import LinkRoute, Side, Sysctl
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.kernel.pods import DUAL, Pod, make_pod
from tests.kernel.world import ChildDied, World, inside, inside_child

STEPS = 30
"""More steps than `apply` of a dual-stack pod takes; the tests check that."""


def _dies_at(step: int, action: Callable[[], None]) -> Callable[[], None]:
    """`action` in a process that ends, as by kill -9, before its `step`th change."""

    def body() -> None:
        left = [step]

        def count() -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        attempt, write = Rtnl.attempt, sysctl.write

        def dying_attempt(self: Rtnl, requests: Sequence[Request]) -> list[Outcome]:
            count()
            return attempt(self, requests)

        def dying_write(setting: Sysctl) -> None:
            count()
            write(setting)

        Rtnl.attempt = dying_attempt  # type: ignore[method-assign]
        sysctl.write = dying_write
        action()

    return body


def _crash(pod: Pod, step: int) -> bool:
    """Whether `apply` died at that step (else it was through before)."""
    body = _dies_at(step, lambda: applier.apply(pod.plan, pod.netns, Deadline.after(20)))
    try:
        inside_child(pod.world.path("node"), body)
    except ChildDied:
        return True
    return False


def test_apply_completes_what_a_crash_at_any_step_left(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    steps = 0
    while _crash(pod, steps):
        pod.apply()
        assert pod.diff() == [], f"crashed at step {steps}"
        pod.undo()
        steps += 1
    assert 10 < steps < STEPS


def test_undo_cleans_up_what_a_crash_at_any_step_left(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    before = world.snapshot("node")
    steps = 0
    while _crash(pod, steps):
        pod.undo()
        assert world.snapshot("node") == before, f"crashed at step {steps}"
        steps += 1
    assert 10 < steps < STEPS


def test_applying_twice_changes_nothing(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    before = world.snapshot("node"), world.snapshot("pod1")
    pod.apply()

    assert (world.snapshot("node"), world.snapshot("pod1")) == before


def test_inspect_tells_whether_the_pair_is_there(world: World) -> None:
    pod = make_pod(world, "pod1")

    def look() -> bool:
        return inside(world.path("node"), lambda: observe.inspect(pod.plan, pod.netns))

    assert not look()
    pod.apply()
    assert look()


def _refusal(pod: Pod) -> CniError:
    """The error of `apply`, which must leave node and pod as they were."""
    # `apply` brings lo up and leaves it so: no harm, and not what is looked at here.
    pod.world.do(pod.name, "ip", "link", "set", "lo", "up")
    before = pod.world.snapshot("node"), pod.world.snapshot(pod.name)
    with pytest.raises(CniError) as caught:
        pod.apply()
    assert (pod.world.snapshot("node"), pod.world.snapshot(pod.name)) == before
    return caught.value


def test_an_interface_of_that_name_in_the_pod_is_a_conflict(world: World) -> None:
    pod = make_pod(world, "pod1")
    world.do("pod1", "ip", "link", "add", "eth0", "type", "veth")

    error = _refusal(pod)
    assert error.code == Code.CONFLICT
    assert f"{pod.netns} already has an interface eth0" in error.message


def test_inspect_names_the_same_conflict(world: World) -> None:
    pod = make_pod(world, "pod1")
    world.do("pod1", "ip", "link", "add", "eth0", "type", "veth")
    with pytest.raises(CniError, match="already has an interface eth0"):
        inside(world.path("node"), lambda: observe.inspect(pod.plan, pod.netns))


def test_a_host_route_by_another_pods_link_is_a_conflict_that_names_it(world: World) -> None:
    first, second = make_pod(world, "pod1", DUAL), make_pod(world, "pod2", DUAL)
    first.apply()

    error = _refusal(second)
    assert error.code == Code.CONFLICT
    assert f"link {first.host_link}" in error.message
    assert first.attachment.container_id in error.message
    assert world.pings("router", "10.10.10.19")


def test_an_ipv6_host_route_by_another_link_is_a_conflict_too(world: World) -> None:
    first = make_pod(world, "pod1", ("10.10.10.19/24", "fd00:10::19/64"))
    second = make_pod(world, "pod2", ("10.10.10.20/24", "fd00:10::19/64"))
    first.apply()

    error = _refusal(second)
    assert error.code == Code.CONFLICT
    assert f"link {first.host_link}" in error.message


def test_a_default_route_that_the_pod_already_has_is_a_conflict(world: World) -> None:
    pod = make_pod(world, "pod1")
    for command in (
        "link add net1 type veth peer name net1p",
        "link set net1 addrgenmode none",
        "link set net1p addrgenmode none",
        "link set net1p up",
        "link set net1 up",
        "addr add 10.9.9.2/24 dev net1",
        "route add default via 10.9.9.1",
    ):
        world.do("pod1", "ip", *command.split())

    error = _refusal(pod)
    assert error.code == Code.CONFLICT
    assert "link net1 already has that destination" in error.message


def test_a_host_link_of_the_same_name_is_a_conflict(world: World) -> None:
    pod = make_pod(world, "pod1")
    world.do("node", "ip", "link", "add", pod.host_link, "type", "veth")

    error = _refusal(pod)
    assert error.code == Code.CONFLICT
    assert f"has a link {pod.host_link} that is not this container's" in error.message


def test_the_same_attachment_in_another_namespace_is_a_conflict(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    moved = replace(pod, name="pod2", attachment=replace(pod.attachment, netns=world.add("pod2")))

    error = _refusal(moved)
    assert error.code == Code.CONFLICT
    assert "leads to another namespace" in error.message


def test_an_interface_of_someone_else_is_not_taken_for_the_end_of_our_pair(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    netns = world.add("pod2")
    world.do("pod2", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "x0")

    error = _refusal(replace(pod, name="pod2", attachment=replace(pod.attachment, netns=netns)))
    assert error.code == Code.CONFLICT
    assert "leads to another namespace" in error.message


def test_a_route_that_the_kernel_refuses_undoes_what_was_made(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    # No way to that gateway: the kernel says "Network is unreachable".
    bad = LinkRoute(
        Side.POD, "eth0", ip_network("198.51.100.0/24"), pod.lease.addresses[0].address.ip + 200
    )
    broken = replace(pod, plan=replace(pod.plan, routes=(*pod.plan.routes, bad)))

    error = _refusal(broken)
    assert error.code == Code.KERNEL
    assert "cannot add the route 198.51.100.0/24 via 10.10.10.219 dev eth0" in error.message


def test_a_failure_after_the_proxy_entries_takes_these_back_too(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    missing = tuple(replace(item, link="nowhere0") for item in pod.plan.announcements)
    broken = replace(pod, plan=replace(pod.plan, announcements=missing))

    error = _refusal(broken)
    assert "cannot announce on nowhere0" in error.message

"""Many pods at once in one process, as the agent has them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from neutron_cni.netlink import apply as applier
from neutron_cni.netlink import diff as differ
from neutron_cni.values.deadline import Deadline
from tests.kernel.pods import Pod, make_pod
from tests.kernel.world import World, inside


def apply(pod: Pod) -> None:
    """Make the pod's plan true, from a process that is in the node's namespace."""
    applier.apply(pod.plan, pod.netns, Deadline.after(20))


def test_pods_attached_and_detached_at_once_are_all_right(world: World) -> None:
    pods = [
        make_pod(world, f"pod{i}", (f"10.10.10.{100 + i}/24", f"fd00:10::{100 + i}/64"))
        for i in range(12)
    ]
    before = world.snapshot("node")

    def attach() -> list[list[str]]:
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(lambda pod: apply(pod), pods))
            return list(threads.map(lambda pod: differ.diff(pod.plan, pod.netns), pods))

    def detach() -> None:
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(lambda pod: applier.undo(pod.plan, pod.netns), pods))

    assert inside(world.path("node"), attach) == [[]] * 12
    assert world.pings("pod3", "10.10.10.111")
    inside(world.path("node"), detach)
    assert world.snapshot("node") == before


def test_no_file_descriptor_and_no_thread_is_left(world: World) -> None:
    pod = make_pod(world, "pod1")

    def rounds() -> tuple[int, int]:
        import os
        import threading
        import time

        def once() -> None:
            apply(pod)
            differ.diff(pod.plan, pod.netns)
            applier.undo(pod.plan, pod.netns)

        def count() -> int:
            end = time.monotonic() + 60
            while threading.active_count() > 1 and time.monotonic() < end:
                time.sleep(0.01)
            return len(os.listdir("/proc/self/fd")) + threading.active_count()  # noqa: PTH208

        once()
        first = count()
        for _ in range(5):
            once()
        return first, count()

    first, last = inside(world.path("node"), rounds)
    # Under load a thread of the first round may end a little late; what leaks makes it more.
    assert last <= first

"""Proxy entries that the kernel dropped are brought back, and none for a pod that went."""

from __future__ import annotations

import pytest

from neutron_cni.netlink import restore_proxies as restoring
from neutron_cni.values.address import IPAddress
from tests.kernel.pods import DUAL, FORWARDING, Pod, make_pod
from tests.kernel.world import ROUTER_ADDRESS, ROUTER_ADDRESS_6, World, inside


def restored(world: World, *pods: Pod) -> set[str]:
    """The addresses for which the node answers again."""
    wanted = [item for pod in pods for item in pod.plan.proxies]
    found: list[IPAddress] = inside(world.path("node"), lambda: restoring.restore_proxies(wanted))
    return {str(item) for item in found}


def proxies(world: World) -> list[str]:
    shown = world.snapshot("node")
    return [line for key in ("proxies", "proxies6") for line in shown[key]]


def test_a_nic_that_was_down_answers_for_its_pods_again(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL, config=FORWARDING)
    pod.apply()
    before = proxies(world)
    assert restored(world, pod) == set()
    routes = (f"route add default via {via}" for via in (ROUTER_ADDRESS, ROUTER_ADDRESS_6))
    world.batch(
        "node",
        "link set up0 down",
        "link set up0 up",
        "addr replace fd00:10::8/64 dev up0 nodad",
        *routes,
    )
    assert proxies(world) == []

    assert restored(world, pod) == {"10.10.10.19", "fd00:10::19"}

    assert proxies(world) == before
    assert world.pings("router", "10.10.10.19")


def test_the_node_does_not_answer_for_a_pod_that_went(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    pod.undo()
    assert restored(world, pod) == set()
    assert proxies(world) == []


def test_an_entry_that_was_made_while_its_pod_went_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "ip", "neigh", "del", "proxy", "10.10.10.19", "dev", "up0")
    looks = iter([True, False])
    monkeypatch.setattr(restoring, "is_routed", lambda host, address: next(looks))
    assert restored(world, pod) == set()
    assert proxies(world) == []


def test_a_nic_that_is_gone_answers_for_nobody(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "ip", "link", "del", "up0")
    assert restored(world, pod) == set()

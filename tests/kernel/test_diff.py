"""CHECK: every kind of breakage has its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kernel.pods import DUAL, make_pod
from tests.kernel.world import World

MAC = "02:00:00:00:00:99"

# Where, the `ip` command that breaks it ({link} is the node's end), and the sentence.
BREAKS = [
    ("node", "link del {link}", "node: the link {link} is missing"),
    ("node", "link set {link} down", "node: the link {link} is down"),
    ("pod1", "link set eth0 down", "pod: the link eth0 is down"),
    (
        "node",
        f"link set {{link}} address {MAC}",
        f"node: the link {{link}} has the MAC {MAC}, not ee:ee:ee:ee:ee:ee",
    ),
    (
        "pod1",
        f"link set eth0 address {MAC}",
        f"pod: the link eth0 has the MAC {MAC}, not {{mac}}",
    ),
    ("pod1", "link set eth0 mtu 1600", "pod: the link eth0 has the MTU 1600, not 1500"),
    ("node", "link set {link} mtu 1400", "node: the link {link} has the MTU 1400, not 1500"),
    (
        "node",
        "link set {link} alias other",
        "node: the link {link} has the alias 'other', not '{alias}'",
    ),
    (
        "pod1",
        "addr del 10.10.10.19/24 dev eth0",
        "pod: the address 10.10.10.19/24 is missing on eth0",
    ),
    (
        "pod1",
        "addr del fd00:10::19/64 dev eth0",
        "pod: the address fd00:10::19/64 is missing on eth0",
    ),
    (
        "pod1",
        "route del default",
        "pod: the route default via 169.254.1.1 dev eth0 (pod) is missing",
    ),
    (
        "pod1",
        "-6 route del default",
        "pod: the route default via fe80::1 dev eth0 (pod) is missing",
    ),
    (
        "pod1",
        "route replace default dev eth0",
        "pod: the route default via 169.254.1.1 dev eth0 (pod) goes via no gateway instead",
    ),
    (
        "node",
        "route del 10.10.10.19",
        "node: the route 10.10.10.19/32 dev {link} (node) is missing",
    ),
    (
        "node",
        "route replace 10.10.10.19 dev up0",
        "node: the route 10.10.10.19/32 dev {link} (node) goes by up0 instead",
    ),
    (
        "node",
        "-6 route del fd00:10::19",
        "node: the route fd00:10::19/128 dev {link} (node) is missing",
    ),
    (
        "node",
        "addr add 10.10.10.19/32 dev up0",
        "node: the route 10.10.10.19/32 dev {link} (node) has no effect: "
        "the address is this namespace's own",
    ),
    (
        "node",
        "route replace 10.10.10.19 dev {link} scope link",
        "node: the route 10.10.10.19/32 dev {link} (node) has the scope link, not global",
    ),
    (
        "pod1",
        "neigh del 169.254.1.1 dev eth0",
        "pod: the neighbour 169.254.1.1 on eth0 is missing",
    ),
    (
        "pod1",
        f"neigh replace 169.254.1.1 lladdr {MAC} dev eth0",
        f"pod: the neighbour 169.254.1.1 on eth0 is at {MAC}, not ee:ee:ee:ee:ee:ee",
    ),
    (
        "pod1",
        "addr add 10.10.10.99/24 dev eth0",
        "pod: eth0 also has the address 10.10.10.99/24, which ADD did not give it",
    ),
    (
        "pod1",
        "addr add fd00:10::99/64 dev eth0",
        "pod: eth0 also has the address fd00:10::99/64, which ADD did not give it",
    ),
    (
        "node",
        "addr add 10.10.10.99/32 dev {link}",
        "node: {link} also has the address 10.10.10.99/32, which ADD did not give it",
    ),
    (
        "pod1",
        "neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud reachable",
        "pod: the neighbour 169.254.1.1 on eth0 is not permanent",
    ),
    (
        "node",
        "neigh del proxy 10.10.10.19 dev up0",
        "node: up0 does not answer for 10.10.10.19 (proxy neighbour)",
    ),
    (
        "node",
        "neigh del proxy fd00:10::19 dev up0",
        "node: up0 does not answer for fd00:10::19 (proxy neighbour)",
    ),
]


@pytest.mark.parametrize(("where", "command", "sentence"), BREAKS, ids=[b[1] for b in BREAKS])
def test_a_breakage_is_named(world: World, where: str, command: str, sentence: str) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    assert pod.diff() == []

    veth = pod.veth
    words = {"link": pod.host_link, "mac": veth.pod_mac, "alias": veth.alias}
    world.do(where, "ip", *command.format(**words).split())

    assert sentence.format(**words) in pod.diff()


def test_a_changed_setting_is_named(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/up0/forwarding")
    world.do("pod1", "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")

    assert pod.diff() == [
        "node: net/ipv4/conf/up0/forwarding is 0, not 1",
        "pod: net/ipv6/conf/eth0/disable_ipv6 is 0, not 1",
    ]


def test_a_pod_that_may_send_from_any_address_is_named(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "sh", "-c", f"echo 0 >/proc/sys/net/ipv4/conf/{pod.host_link}/rp_filter")
    assert pod.diff() == [f"node: net/ipv4/conf/{pod.host_link}/rp_filter is 0, not 1"]


def test_a_smaller_mtu_of_the_pod_is_a_later_plugins(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("pod1", "ip", "link", "set", "eth0", "mtu", "1400")
    assert pod.diff() == []


def test_a_missing_pair_is_one_sentence_for_each_end_and_its_routes(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("node", "ip", "link", "del", pod.host_link)

    assert pod.diff() == [
        f"node: the link {pod.host_link} is missing",
        f"node: the route 10.10.10.19/32 dev {pod.host_link} (node) is missing",
        "pod: the link eth0 is missing",
        "pod: the route 169.254.1.1/32 dev eth0 (pod) is missing",
        "pod: the route default via 169.254.1.1 dev eth0 (pod) is missing",
    ]


def test_a_second_route_of_a_higher_metric_is_no_difference(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.do("pod1", "ip", "route", "add", "default", "dev", "eth0", "metric", "100")

    assert pod.diff() == []


def test_a_namespace_that_is_gone_is_said(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()
    world.remove("pod1")

    assert any("the pod can't be looked at: cannot open" in item for item in pod.diff())


def test_looking_changes_nothing(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()
    before = world.snapshot("node"), world.snapshot("pod1")
    pod.diff()
    pod.diff(replace(pod.plan, links=()))

    assert (world.snapshot("node"), world.snapshot("pod1")) == before

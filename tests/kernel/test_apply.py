"""What `apply` leaves in the kernel, read back with iproute2."""

from __future__ import annotations

from neutron_cni.netlink.plan import Dummy
from tests.kernel.pods import DUAL, facts, make_pod
from tests.kernel.world import World
from tests.unavailable import possible

MAC = "ee:ee:ee:ee:ee:ee"


def test_the_pod_has_one_link_its_address_and_two_routes(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()

    assert [link["ifname"] for link in world.ip("pod1", "link", "show")] == ["lo", "eth0"]
    assert world.text("pod1", "route") == [
        "default via 169.254.1.1 dev eth0",
        "169.254.1.1 dev eth0 scope link",
    ]
    (address,) = world.ip("pod1", "addr", "show", "dev", "eth0")[0]["addr_info"]
    assert (address["local"], address["prefixlen"]) == ("10.10.10.19", 24)
    assert address["noprefixroute"] is True
    assert world.text("pod1", "neigh") == [f"169.254.1.1 dev eth0 lladdr {MAC} PERMANENT"]


def test_the_node_has_a_global_host_route_and_knows_the_pods_mac(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()

    link = pod.host_link
    assert world.text("node", "route", "show", "dev", link) == ["10.10.10.19"]
    (route,) = world.ip("node", "route", "show", "10.10.10.19")
    assert (route.get("protocol"), route.get("scope")) == ("boot", "global")
    mac = pod.veth.pod_mac
    assert world.text("node", "neigh", "show", "dev", link) == [f"10.10.10.19 lladdr {mac} STALE"]
    assert world.text("node", "neigh", "show", "proxy") == ["10.10.10.19 dev up0 proxy proto 110"]


def test_both_ends_are_up_with_the_planned_macs_mtu_and_alias(world: World) -> None:
    pod = make_pod(world, "pod1", mtu=1442)
    pod.apply()

    (host,) = world.ip("node", "link", "show", pod.host_link)
    (peer,) = world.ip("pod1", "link", "show", "eth0")
    veth = pod.veth
    assert (host["address"], peer["address"]) == (MAC, veth.pod_mac)
    assert (host["mtu"], peer["mtu"]) == (1442, 1442)
    assert "UP" in host["flags"]
    assert "LOWER_UP" in peer["flags"]
    assert host["ifalias"] == f"neutron-cni net1 {pod.attachment.container_id} eth0 veth-route"


def test_the_pod_loopback_is_up(world: World) -> None:
    make_pod(world, "pod1").apply()

    assert world.pings("pod1", "127.0.0.1")


def test_a_dual_stack_pod_has_the_same_in_ipv6(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()

    lines = [line for line in world.text("pod1", "-6", "route") if "kernel" not in line]
    assert lines == [
        "fe80::1 dev eth0 metric 1024 pref medium",
        "default via fe80::1 dev eth0 metric 1024 pref medium",
    ]
    assert f"fe80::1 dev eth0 lladdr {MAC} PERMANENT" in world.text("pod1", "-6", "neigh")
    found = world.ip("pod1", "-6", "addr", "show", "dev", "eth0", "scope", "global")
    (address,) = [item for item in found[0]["addr_info"] if item]
    assert (address["local"], address["prefixlen"]) == ("fd00:10::19", 64)
    assert "tentative" not in address
    assert world.text("node", "-6", "route", "show", "fd00:10::19") == [
        f"fd00:10::19 dev {pod.host_link} metric 1024 pref medium"
    ]
    assert world.text("node", "-6", "neigh", "show", "proxy") == [
        "fd00:10::19 dev up0 proxy proto 110"
    ]


def test_no_link_local_address_waits_for_duplicate_detection(world: World) -> None:
    pod = make_pod(world, "pod1", DUAL)
    pod.apply()

    for name, link in (("node", pod.host_link), ("pod1", "eth0")):
        assert world.text(name, "-6", "addr", "show", "dev", link, "tentative") == []


def test_leased_addresses_skip_duplicate_detection_even_where_it_is_on(world: World) -> None:
    """The kernel takes the larger of conf/all and the link's accept_dad."""
    pod = make_pod(world, "pod1", DUAL)
    for name in ("node", "pod1"):
        world.do(name, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/accept_dad")
    pod.apply()

    for name, link, address in (("node", pod.host_link, "fe80::1"), ("pod1", "eth0", "fd00:10")):
        tentative = world.text(name, "-6", "addr", "show", "dev", link, "tentative")
        assert not [line for line in tentative if address in line]
        assert [line for line in world.text(name, "addr", "show", "dev", link) if address in line]


def test_a_pod_without_ipv6_address_has_no_ipv6_at_all(world: World) -> None:
    pod = make_pod(world, "pod1")
    pod.apply()

    for name, link in (("node", pod.host_link), ("pod1", "eth0")):
        assert world.text(name, "-6", "addr", "show", "dev", link) == []


def test_only_settings_of_the_links_used_are_changed(world: World) -> None:
    keys = {
        "net/ipv4/ip_forward": "0",
        "net/ipv4/conf/all/forwarding": "0",
        "net/ipv4/conf/default/forwarding": "0",
        "net/ipv4/conf/lo/forwarding": "0",
        "net/ipv4/conf/up0/forwarding": "1",
        "net/ipv6/conf/all/forwarding": "0",
        "net/ipv6/conf/up0/forwarding": "1",
        "net/ipv6/conf/up0/accept_ra": "2",
        "net/ipv6/conf/up0/proxy_ndp": "1",
        "net/ipv4/neigh/up0/proxy_delay": "0",
    }
    pod = make_pod(world, "pod1", DUAL)
    keys[f"net/ipv4/conf/{pod.host_link}/forwarding"] = "1"
    keys[f"net/ipv4/conf/{pod.host_link}/rp_filter"] = "1"
    pod.apply()

    assert {key: world.sysctl("node", key) for key in keys} == keys


def test_the_node_is_found_to_have_a_dummy_device_where_its_kernel_has_it(world: World) -> None:
    assert facts(world).dummy == possible("dummy")


def test_the_plan_says_when_the_kernel_has_no_dummy_device(world: World) -> None:
    note = "this kernel has no dummy device: no link has 169.254.1.1, so pods can't ping it"
    without, having = make_pod(world, "pod1"), make_pod(world, "pod2", dummy=True)

    assert (without.plan.links[1:], without.plan.notes) == ((), (note,))
    assert (having.plan.links[1:], having.plan.notes) == ((Dummy("dummy0"),), ())

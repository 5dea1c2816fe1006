"""Pods in a subnet of their own, without DHCP: the layout of the README, on whichever driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.modes import Container, containers, settled
from tests.openstack.plugin import call, config
from tests.openstack.pods_subnet import GATEWAY, pods_subnet
from tests.openstack.state import proxies, wait_for

pytestmark = pytest.mark.both_drivers

MODES = ["fixed-ips", "address-pairs"]


class Site(NamedTuple):
    """Two pods on node1 and one on node2, in a subnet that no node has an address of."""

    mode: str
    one: Container
    two: Container
    far: Container


@pytest.fixture(scope="module")
def subnet(lab: Lab, node1: Node, node2: Node) -> Iterator[str]:
    """The name of the pods' subnet."""
    with settled(lab, node1, node2), pods_subnet(lab, node1, node2) as name:
        yield name


@pytest.fixture(scope="module", params=MODES)
def site(request: pytest.FixtureRequest, subnet: str, node1: Node, node2: Node) -> Iterator[Site]:
    """The pods of all tests that change none."""
    document = network(request.param, subnet)
    with (
        containers(node1, "one two", document) as (one, two),
        containers(node2, "far", document) as (far,),
    ):
        yield Site(request.param, one, two, far)


def network(mode: str, subnet: str) -> dict[str, Any]:
    return config("1.1.0", mode=mode, subnets=[subnet])


def reached(source: traffic.Place, target: str, size: int | None = None) -> None:
    """The target answers, as soon as the network lets the source's address pass: ML2/OVS does up to
    two seconds after Neutron has answered."""
    wait_for(lambda: traffic.ping(source, target, size=size).answered == 3, f"{target} to answer")


def test_pods_reach_each_other_on_one_node_and_on_two(site: Site) -> None:
    reached(site.one.pod, site.two.pod.address)
    reached(site.one.pod, site.far.pod.address)
    reached(site.far.pod, site.one.pod.address)


def test_pods_reach_their_router_and_the_internet(lab: Lab, site: Site) -> None:
    reached(site.one.pod, GATEWAY)
    seen = traffic.transfer(site.two.pod, lab.node("internet"), lab.facts["far_address"])
    router: Any = lab.connection().network.get_router(lab.facts["router_id"])
    (gateway,) = router.external_gateway_info["external_fixed_ips"]
    assert seen.source == gateway["ip_address"]


def test_nodes_and_pods_reach_each_other(site: Site) -> None:
    for node in (site.one.node, site.far.node):
        reached(node, site.one.pod.address)
        reached(site.one.pod, node.address)


def test_each_node_answers_for_its_own_pods(site: Site) -> None:
    """On ML2/OVN nobody need ask it, and on ML2/OVS nobody else answers."""
    assert proxies(site.one.node) == {site.one.pod.address, site.two.pod.address}
    assert proxies(site.far.node) == {site.far.pod.address}


def test_check_is_content_and_misses_what_answers_for_the_pod(site: Site) -> None:
    pod = site.two
    before = {"prevResult": pod.add()}
    assert pod.call("CHECK", before).status == 0
    pod.node.exec(["ip", "neigh", "del", "proxy", pod.pod.address, "dev", "eth0"])
    missing = pod.call("CHECK", before)
    assert missing.json["code"] == 104
    assert f"eth0 does not answer for {pod.pod.address}" in missing.json["msg"]

    mended = call(pod.node, "STATUS", document=pod.document, IFNAME="")

    assert mended.status == 0
    assert f"does again: {pod.pod.address}" in mended.stderr
    assert pod.call("CHECK", before).status == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_pod_is_announced_when_it_comes_and_three_times_more(
    subnet: str, node1: Node, mode: str
) -> None:
    path = "/run/announced.txt"
    shell = f"timeout 120 tcpdump -lni eth0 -Q out arp >{path} 2>&1 & echo $! >{path}.pid"
    node1.exec(["sh", "-c", shell])
    try:
        wait_for(lambda: "listening" in node1.exec(["cat", path]).stdout, "tcpdump to listen")
        with containers(node1, "heard", network(mode, subnet)) as (heard,):
            own = heard.pod.address
            request = re.compile(rf"Request who-has {own} .*tell {own}")

            def announced() -> int:
                return len(request.findall(node1.exec(["cat", path]).stdout))

            wait_for(lambda: announced() >= 4, f"{own} to be announced four times")
    finally:
        node1.exec(["sh", "-c", f"kill $(cat {path}.pid); rm {path} {path}.pid"], check=False)

"""The executables of neutron-ipvlan and of its chain, on a kernel that has ipvlan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import Container, containers, forget_looks
from tests.openstack.plugin import Answer, call, libcni
from tests.openstack.state import fixed_ips, held, pod_routes, veths, wait_for, wait_until_settled
from tests.vm.networks import chained, combined, ipvlan
from tests.vm.remains import nothing_left

IPS = {"ips": ["10.20.0.231/24", "fd20::231/64"]}
GATEWAYS = ("10.20.0.1", "fd20::1")


@pytest.fixture
def node(lab: Lab, vm1: Node) -> Iterator[Node]:
    """A node that has no pods before and after, and remembers no look at the cloud."""
    nothing_left(lab, vm1)
    forget_looks(lab, vm1)
    yield vm1
    nothing_left(lab, vm1)


@pytest.fixture
def netns(node: Node) -> Iterator[str]:
    """The name of an empty namespace."""
    node.exec(["ip", "netns", "add", "t-pod"])
    yield "t-pod"
    node.exec(["ip", "netns", "del", "t-pod"], check=False)


def reaches(node: Node, name: str, *targets: str) -> None:
    """The pod exchanges packets with the gateways, its node, and `targets`."""
    own = (str(item).partition("/")[0] for item in node.facts["addresses"])
    for target in (*GATEWAYS, *own, *targets):
        ping = ["ip", "netns", "exec", name, "ping", "-n", "-c1", "-w30", target]
        assert node.exec(ping, check=False).returncode == 0, target


def succeeds(answer: Answer) -> Answer:
    assert answer.status == 0, answer
    return answer


# The chain of upstream's ipvlan and veth-host


def attached(
    lab: Lab, node: Node, netns: str, conflist: dict[str, Any], other: str
) -> dict[str, Any]:
    """The result of a pod that works, reaches `other`, and that DEL leaves nothing of."""
    result = succeeds(libcni(node, "add", netns, conflist, IPS)).json
    reaches(node, netns, other)
    assert succeeds(libcni(node, "check", netns, conflist, IPS)).stderr == ""
    succeeds(libcni(node, "del", netns, conflist, IPS))
    return result


def test_upstreams_ipvlan_and_veth_host_give_the_result_of_neutron_ipvlan(
    lab: Lab, node: Node, netns: str
) -> None:
    """Equal but for the MTU of the main interface, which upstream's result does not have."""
    with containers(node, "other", ipvlan(), "neutron-ipvlan") as (other,):
        address = other.pod.address
        ours = attached(lab, node, netns, combined(), address)
        wait_until_settled(lab, node)
        theirs = attached(lab, node, netns, chained(), address)
    nothing_left(lab, node, netns)
    stated = deepcopy(ours)
    assert stated["interfaces"][0].pop("mtu") == node.facts["mtu"]
    assert theirs == stated
    assert [item["address"] for item in ours["ips"]] == IPS["ips"]


@pytest.mark.parametrize("conflist", [combined, chained])
def test_del_after_the_namespace_is_gone_leaves_nothing(
    lab: Lab, node: Node, netns: str, conflist: Callable[[], dict[str, Any]]
) -> None:
    succeeds(libcni(node, "add", netns, conflist()))
    node.exec(["ip", "netns", "del", netns])
    succeeds(libcni(node, "del", netns, conflist()))
    nothing_left(lab, node)


# ADD


def test_add_answers_in_the_form_of_every_version_and_the_same_when_it_is_repeated(
    node: Node,
) -> None:
    with containers(node, "forms", ipvlan(), "neutron-ipvlan") as (pod,):
        newest = pod.add()
        assert newest["cniVersion"] == "1.1.0"
        assert [item["name"] for item in newest["interfaces"]][::2] == ["eth0", "veth0"]
        assert [item["mtu"] for item in newest["interfaces"]] == [node.facts["mtu"]] * 3
        for version in ("1.0.0", "0.4.0", "0.3.1"):
            found = pod.add({"cniVersion": version})
            assert found.pop("cniVersion") == version
            families = [item.pop("version", None) for item in found["ips"]]
            assert families == ([None, None] if version == "1.0.0" else ["4", "6"])
            stated = deepcopy(newest)
            del stated["cniVersion"]
            for item in stated["interfaces"]:
                del item["mtu"]
            assert found == stated, version


def test_an_add_that_is_repeated_completes_what_an_interrupted_one_made(node: Node) -> None:
    with containers(node, "half", ipvlan(), "neutron-ipvlan") as (pod,):
        result = pod.add()
        (link,) = veths(node)
        node.exec(["ip", "link", "del", link])
        pod.pod.exec(["ip", "link", "set", "eth0", "down"])
        assert pod.call("CHECK", {"prevResult": result}).status == 1
        assert pod.add() == result
        assert succeeds(pod.call("CHECK", {"prevResult": result})).stderr == ""
        reaches(node, pod.name)


# A second network


def test_a_second_network_has_a_link_of_its_own_and_no_second_leg(node: Node) -> None:
    """As Multus has it: another interface of the same sandbox, here on the same Neutron network."""
    second = {**ipvlan(), "name": "second"}
    with containers(node, "two", ipvlan(), "neutron-ipvlan") as (pod,):
        first = pod.add()
        before = pod.pod.exec(["ip", "-6", "rule"]).stdout + pod.pod.exec(["ip", "rule"]).stdout
        net1 = Container(node, "two", second, "neutron-ipvlan")
        made = net1.add(IFNAME="net1")
        assert [item["name"] for item in made["interfaces"]] == ["net1"]
        assert len(veths(node)) == 1
        assert net1.add(IFNAME="net1") == made
        for container, result, name in ((net1, made, "net1"), (pod, first, "eth0")):
            more = {"prevResult": result}
            assert succeeds(container.call("CHECK", more, IFNAME=name)).stderr == ""
        for address in (str(item["address"]).partition("/")[0] for item in made["ips"]):
            gateway = GATEWAYS[":" in address]
            ping = ["ping", "-n", "-c1", "-w30", "-I", address, gateway]
            assert pod.pod.exec(ping, check=False).returncode == 0
        assert net1.call("DEL", IFNAME="net1").status == 0
        shown = pod.pod.exec(["ip", "-6", "rule"]).stdout + pod.pod.exec(["ip", "rule"]).stdout
        assert shown == before
        assert succeeds(pod.call("CHECK", {"prevResult": first})).stderr == ""
        reaches(node, pod.name)


# GC, STATUS, CHECK


def test_gc_removes_the_second_leg_of_what_is_not_valid_and_keeps_the_others(
    lab: Lab, node: Node
) -> None:
    elsewhere = {**ipvlan(), "name": "another"}
    with (
        containers(node, "kept dropped", ipvlan(), "neutron-ipvlan") as (kept, dropped),
        containers(node, "elsewhere", elsewhere, "neutron-ipvlan") as (other,),
    ):
        gone = held(lab, node)[dropped.name]
        links = {pod_routes(node)[address] for address in gone}
        left = veths(node) - links
        assert (len(links), len(left)) == (1, 2)
        valid = [{"containerID": kept.name, "ifname": "eth0"}]
        document = {**ipvlan(), "cni.dev/valid-attachments": valid}
        answer = call(node, "GC", document=document, plugin="neutron-ipvlan", IFNAME="")
        assert answer == Answer(0, "", "")
        wait_for(lambda: veths(node) == left, "the second leg to go")
        assert set(held(lab, node)) == {kept.name, other.name}
        wait_for(lambda: not gone & fixed_ips(lab, node), "the addresses to be given back")
        assert set(pod_routes(node)) == fixed_ips(lab, node)
        for pod in (kept, other):
            assert succeeds(pod.call("CHECK", {"prevResult": pod.add()})).stderr == ""


@contextmanager
def parent_down(node: Node) -> Iterator[None]:
    """The NIC is down; when it is up again somebody gives it its addresses and routes, too."""
    kept = [
        [f"-{version}", kind, "replace", *words]
        for version in (4, 6)
        for kind, words in (*_addresses(node, version), *_routes(node, version))
    ]
    node.exec(["ip", "link", "set", "eth0", "down"])
    try:
        yield
    finally:
        node.exec(["ip", "link", "set", "eth0", "up"])
        for words in kept:
            node.exec(["ip", *words], check=False)  # The kernel's own come by themselves.


def _addresses(node: Node, version: int) -> list[tuple[str, list[str]]]:
    nodad = ["nodad"] if version == 6 else []
    return [
        ("address", [item, "dev", "eth0", *nodad])
        for item in map(str, node.facts["addresses"])
        if (":" in item) is (version == 6)
    ]


def _routes(node: Node, version: int) -> list[tuple[str, list[str]]]:
    lines = node.exec(["ip", f"-{version}", "route", "show", "dev", "eth0"]).stdout.splitlines()
    made = [line.replace(" pref medium", "").split() for line in lines if " via " in line]
    return [("route", [*words, "dev", "eth0"]) for words in made]


def test_while_the_parent_is_down_status_and_check_say_so_and_afterwards_nothing(
    node: Node,
) -> None:
    document = {**ipvlan(), "master": "eth0"}

    def status() -> Answer:
        return call(node, "STATUS", document=document, plugin="neutron-ipvlan", IFNAME="")

    with containers(node, "down", document, "neutron-ipvlan") as (pod,):
        result = pod.add()
        assert status() == Answer(0, "", "")
        with parent_down(node):
            assert "master eth0 is down" in status().refusal(50)
            checked = pod.call("CHECK", {"prevResult": result})
            assert "master eth0 is down" in checked.refusal(104)
            late = Container(node, "late", document, "neutron-ipvlan")
            assert "master eth0 is down" in late.call("ADD").refusal(7)
            late.delete()
        assert status() == Answer(0, "", "")
        assert pod.call("CHECK", {"prevResult": result}) == Answer(0, "", "")
        reaches(node, pod.name)

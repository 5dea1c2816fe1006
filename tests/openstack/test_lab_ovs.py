"""The lab with ML2/OVS: the same nodes and networks, made by Neutron's agents; nothing is left.

In a lab of its own, as the others' have ML2/OVN.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from neutron_cni_lab import Lab, LabError
from neutron_cni_lab.agents import AGENTS, BUS, HOLDER
from neutron_cni_lab.ovs import Ovs
from neutron_cni_lab.paths import name_for_checkout
from neutron_cni_lab.processes import is_ours
from tests.openstack.state import wait_for
from tests.openstack.test_lab import host, reaches_internet
from tests.support.labs import NOTHING, lab_apart, traces

NAME = name_for_checkout("ovstest")


@pytest.fixture(scope="module")
def host_before() -> dict[str, list[str]]:
    return host()


@pytest.fixture(scope="module")
def lab(host_before: dict[str, list[str]]) -> Iterator[Lab]:
    with lab_apart(NAME, driver="ovs") as lab:
        yield lab


def ovs(lab: Lab) -> Ovs:
    assert isinstance(lab.driver, Ovs)
    return lab.driver


def status() -> int:
    words = [sys.executable, "-m", "neutron_cni_lab", "status", "--name", NAME]
    return subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode


def test_up_changes_nothing_of_the_host(host_before: dict[str, list[str]], lab: Lab) -> None:
    assert lab.facts["driver"] == "ovs"
    assert status() == 0
    assert host() == host_before


def test_routers_and_dhcp_servers_are_not_seen_from_the_host(lab: Lab) -> None:
    seen = ovs(lab).agents.inside(["ip", "netns", "list"])
    inside = subprocess.run(seen, capture_output=True, text=True, check=True).stdout
    outside = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"qrouter-{lab.facts['router_id']}" in inside
    assert f"qdhcp-{lab.facts['networks']['tenant']}" in inside
    assert "qrouter-" not in outside


def test_nodes_reach_router_each_other_internet_and_api(lab: Lab) -> None:
    node = lab.node("node1")
    for target in ("10.10.0.1", lab.node("node2").address, lab.facts["far_address"]):
        node.exec(["ping", "-c1", "-w30", target])
    answer = node.exec(["curl", "-sS", "-m60", lab.facts["node_api_url"]])
    assert '"v2.0"' in answer.stdout


def test_a_node_on_the_dual_stack_network(lab: Lab) -> None:
    dual = lab.add_node("dual1", network="dual")
    dual.exec(["ping", "-c1", "-w30", "fd20::1"])
    assert reaches_internet(lab, "dual1")
    lab.remove_node("dual1")


def test_the_metadata_service_knows_who_asks(lab: Lab) -> None:
    url = "http://169.254.169.254/openstack/latest/meta_data.json"
    for name in ("node1", "node2"):
        found = lab.node(name).exec(["curl", "-sSf", "-m60", "--retry", "5", url]).stdout
        assert json.loads(found)["name"] == name


def test_a_source_address_that_is_not_on_the_port_is_dropped(lab: Lab) -> None:
    node = lab.node("node1")
    node.exec(["ip", "address", "add", "10.10.15.250/32", "dev", "eth0"])
    ping = ["ping", "-c1", "-W1", "-I", "10.10.15.250", "10.10.0.1"]
    assert node.exec(ping, check=False).returncode != 0
    node.exec(["ip", "address", "del", "10.10.15.250/32", "dev", "eth0"])


def test_an_extra_route_is_one_of_the_routers_namespace(lab: Lab) -> None:
    calls, router = lab.connection().network, lab.facts["router_id"]
    route = {"destination": "10.99.0.5/32", "nexthop": lab.node("node1").address}
    calls.add_extra_routes_to_router(router, {"router": {"routes": [route]}})

    def shown() -> bool:
        return (
            f"10.99.0.5 via {route['nexthop']} dev qr-"
            in lab.node("router").exec(["ip", "route"]).stdout
        )

    wait_for(shown, "the route")
    calls.remove_extra_routes_from_router(router, {"router": {"routes": [route]}})
    wait_for(lambda: not shown(), "the route to go")


def test_up_twice_changes_nothing(lab: Lab) -> None:
    pids, facts = {**ovs(lab).pids, "neutron": lab.neutron.pid}, lab.facts
    lab.up()
    assert lab.facts == facts
    assert {**ovs(lab).pids, "neutron": lab.neutron.pid} == pids


def test_a_lab_keeps_its_driver(lab: Lab) -> None:
    with pytest.raises(LabError, match="has the driver ovs, not ovn"):
        lab.up(driver="ovn")


@pytest.mark.parametrize("part", [BUS, HOLDER, *AGENTS])
def test_up_repairs_what_was_killed(lab: Lab, part: str) -> None:
    killed = ovs(lab).pids[part]
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not is_ours(killed, lab.places.folder), f"{part} to be gone")
    assert status() == 1
    assert reaches_internet(lab, "node1"), "what agents made goes on without them"
    lab.up()
    lab.add_node("again")
    assert reaches_internet(lab, "again")
    lab.remove_node("again")


def test_up_repairs_routers_that_a_crash_of_the_switch_cut_off(lab: Lab) -> None:
    crashed = lab.switch.pid("ovs-vswitchd")
    assert crashed is not None
    os.kill(crashed, signal.SIGABRT)
    wait_for(lambda: lab.switch.pid("ovs-vswitchd") not in (None, crashed), "it to come back")
    lab.up()
    assert reaches_internet(lab, "node1")


def test_up_repairs_a_fabric_that_is_gone(lab: Lab) -> None:
    subprocess.run(["ip", "netns", "del", lab.switch.namespace], check=True)
    assert status() == 1
    lab.up()
    assert status() == 0
    assert reaches_internet(lab, "node1")


def test_down_leaves_nothing(host_before: dict[str, list[str]], lab: Lab) -> None:
    lab.down()
    assert traces(lab) == NOTHING
    assert host() == host_before

"""While Neutron is away: pods go all the same, new ones are refused at once, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_node
from tests.openstack.plugin import Answer, call, config
from tests.openstack.state import (
    fixed_ips,
    held,
    leases,
    pod_routes,
    wait_for,
    wait_until_settled,
)

LEAVING, STAYING, COMING = "t-leaving", "t-staying", "t-coming"


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A node of its own: nobody else's addresses are in the way."""
    node = new_node(lab, "tdown")
    for name in (LEAVING, STAYING, COMING):
        node.exec(["ip", "netns", "add", name])
    yield node
    lab.start_neutron()
    lab.remove_node("tdown")


@dataclass
class Outage:
    """What was seen during it: the answers, and what was there then."""

    leaving: Answer
    staying: Answer
    answers: dict[str, Answer]
    routes: dict[str, str]
    rows: list[dict[str, Any]]
    kernel_at_add: tuple[str, str]
    rows_at_add: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    ping: int


@pytest.fixture(scope="module")
def outage(lab: Lab, node: Node) -> Outage:
    """One outage for all tests, as starting Neutron takes seconds. It is over by then."""
    leaving, staying = call(node, "ADD", LEAVING), call(node, "ADD", STAYING)
    kernel = ["sh", "-c", f"ip -d addr; ip route show table all; ip -n {COMING} -d addr"]
    answers: dict[str, Answer] = {}
    # Longer than `Node.exec` lets a command take: who waited until then would get no answer.
    patient = config(timeout=600)

    def ask(key: str, *words: Any) -> None:
        answers[key] = call(node, *words)

    lab.stop_neutron()
    try:
        before = node.exec(kernel).stdout, leases(lab, node)
        ask("add", "ADD", COMING, patient)
        after = node.exec(kernel).stdout, leases(lab, node)
        ask("add again", "ADD", STAYING)
        ask("check", "CHECK", STAYING, config() | {"prevResult": staying.json})
        ask("status", "STATUS", "", config("1.1.0"))
        ask("del", "DEL", LEAVING, patient)
        ping = ["ip", "netns", "exec", STAYING, "ping", "-c1", "-w30", "10.10.0.1"]
        return Outage(
            leaving,
            staying,
            answers,
            routes=pod_routes(node),
            rows=leases(lab, node),
            kernel_at_add=(before[0], after[0]),
            rows_at_add=(before[1], after[1]),
            ping=node.exec(ping, check=False).returncode,
        )
    finally:
        lab.start_neutron()


def test_del_succeeds_at_once_and_takes_the_pod_down(outage: Outage) -> None:
    assert outage.answers["del"] == Answer(0, "", "")
    assert outage.leaving.address not in outage.routes
    still = [row for row in outage.rows if row["addresses"] == [outage.leaving.address]]
    assert [row["state"] for row in still] == ["cooling"]


def test_neutron_gets_the_address_back_when_it_returns(
    lab: Lab, node: Node, outage: Outage
) -> None:
    wait_for(lambda: outage.leaving.address not in fixed_ips(lab, node), "the address to go", 30)
    wait_until_settled(lab, node)
    assert LEAVING not in held(lab, node)


def test_add_is_refused_at_once_and_changes_nothing(outage: Outage) -> None:
    refused = outage.answers["add"]
    assert (refused.status, refused.json["code"]) == (1, 11)
    assert "Neutron is unreachable" in refused.json["msg"]
    assert outage.kernel_at_add[0] == outage.kernel_at_add[1]
    assert outage.rows_at_add[0] == outage.rows_at_add[1]


def test_the_runtimes_next_try_succeeds(lab: Lab, node: Node, outage: Outage) -> None:
    address = call(node, "ADD", COMING).address
    assert held(lab, node)[COMING] == {address}
    assert address in fixed_ips(lab, node)


def test_a_pod_that_is_there_keeps_working_and_add_of_it_again_is_answered(
    outage: Outage,
) -> None:
    assert outage.ping == 0
    assert outage.answers["add again"].json == outage.staying.json


def test_status_of_a_node_with_pods_is_good_and_notes_that_neutron_is_unreachable(
    outage: Outage,
) -> None:
    answer = outage.answers["status"]
    assert (answer.status, answer.stdout) == (0, "")
    assert "Neutron is unreachable" in answer.stderr


def test_check_of_a_pod_that_is_well_succeeds_and_notes_it(outage: Outage) -> None:
    answer = outage.answers["check"]
    assert (answer.status, answer.stdout) == (0, "")
    assert "Neutron is unreachable" in answer.stderr

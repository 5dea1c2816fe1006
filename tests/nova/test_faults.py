"""What can go wrong between Nova and its hypervisor goes wrong on order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from openstack.exceptions import ConflictException, HttpException

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.nova.faults import Faults
from tests.nova.servers import Port, attach, detach, detach_and_wait, is_bound, links, outcome
from tests.openstack.state import wait_for

LONG = 300.0
"""More seconds than a test waits for: until the order is taken back."""


@pytest.fixture(scope="module")
def background() -> Iterator[ThreadPoolExecutor]:
    """Where a call waits for its answer."""
    with ThreadPoolExecutor() as pool:
        yield pool


def failure(lab: Lab, node: Node, port: Port) -> int:
    """The status of an attach that is not answered 200."""
    with pytest.raises(HttpException) as caught:
        attach(lab, node, port)
    return int(caught.value.status_code or 0)


def test_an_attach_that_fails_is_answered_500_and_nothing_is_done(
    lab: Lab, shared: Node, port: Port
) -> None:
    with lab.nova.ordered(Faults(attach_fails=True)):
        assert failure(lab, shared, port) == 500
    assert port.mac not in links(shared)
    assert not is_bound(lab, shared, port)
    attach(lab, shared, port)  # the order is no longer in force
    assert port.mac in links(shared)


def test_an_attach_whose_answer_is_lost_is_answered_500_and_done(
    lab: Lab, shared: Node, port: Port
) -> None:
    with lab.nova.ordered(Faults(attach_answer_lost=True)):
        assert failure(lab, shared, port) == 500
    assert port.mac in links(shared)
    assert is_bound(lab, shared, port)
    assert failure(lab, shared, port) == 409


def test_a_slow_attach_has_the_port_bound_before_the_nic_is_there(
    lab: Lab, node: Node, port: Port, background: ThreadPoolExecutor
) -> None:
    with lab.nova.ordered(Faults(attach_seconds=LONG)):
        asked = background.submit(attach, lab, node, port)
        wait_for(lambda: is_bound(lab, node, port), "the port to be bound")
        assert port.mac not in links(node)
        assert not asked.done()
    asked.result(timeout=120)
    assert port.mac in links(node)


def test_a_nic_that_never_appears_is_attached_as_far_as_nova_knows(
    lab: Lab, node: Node, port: Port
) -> None:
    with lab.nova.ordered(Faults(nic_missing=True)):
        attach(lab, node, port)
    assert is_bound(lab, node, port)
    assert port.mac not in links(node)
    assert detach_and_wait(lab, node, port.id) == "Success"
    assert not is_bound(lab, node, port)


def test_a_detach_that_fails_leaves_all_as_it_was(lab: Lab, shared: Node, port: Port) -> None:
    attach(lab, shared, port)
    with lab.nova.ordered(Faults(detach_fails=True)):
        assert detach_and_wait(lab, shared, port.id) == "Error"
    assert port.mac in links(shared)
    assert is_bound(lab, shared, port)


def test_a_slow_detach_is_accepted_and_the_nic_is_still_there(
    lab: Lab, shared: Node, port: Port
) -> None:
    attach(lab, shared, port)
    with lab.nova.ordered(Faults(detach_seconds=LONG)):
        request = detach(lab, shared, port.id)
        assert outcome(lab, shared, request) == ""
        assert port.mac in links(shared)
        assert is_bound(lab, shared, port)
    wait_for(lambda: outcome(lab, shared, request) == "Success", "the detach to end")
    assert port.mac not in links(shared)


def test_a_server_whose_state_refuses_answers_409(lab: Lab, shared: Node, port: Port) -> None:
    with lab.servers.refusing(shared.server_id):
        with pytest.raises(ConflictException, match="while it is in vm_state error"):
            attach(lab, shared, port)
        assert not is_bound(lab, shared, port)
    attach(lab, shared, port)
    assert port.mac in links(shared)

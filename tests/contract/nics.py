"""What our client of Nova is promised, by the fake one and by the lab's: a server's NICs.

A module that binds this defines the fixture `site`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from neutron_cni.ipam.server import server_of
from neutron_cni.openstack.errors import AnswerLost, NotFound, ObjectInUse, Refused, ServerBusy
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.openstack.types import Outcome, Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

NOWHERE = "00000000-0000-4000-8000-000000000000"
"""An id that no object has."""
REQUEST = f"req-{NOWHERE}"
GIVE_UP = 180.0
"""Seconds after which what should come has not."""
SHORT = 3.0
"""Seconds that a call has whose answer is not to come in time."""

Order = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Site:
    """A server, ports for it, and what goes wrong during a block."""

    neutron: Neutron
    nova: Nova
    server: str
    network: str
    description: str
    """Of all ports that are made."""
    state_refuses: Order
    """The server is in a state in which no NIC is changed."""
    attach_fails: Order
    """The hypervisor refuses it."""
    attach_unanswered: Order
    """It is made, and its answer does not come within `SHORT`."""
    detach_fails: Order
    """The hypervisor keeps the NIC."""

    def new_port(self, **more: str) -> Port:
        """One that nobody has."""
        attributes = {"network_id": self.network, "description": self.description, **more}
        return self.neutron.create_port(attributes, ["kept"])

    def holder(self, port: Port) -> str:
        """Who has the port: the id of a server, or nothing."""
        return self.neutron.port(port.id).device_id

    def attached(self) -> set[str]:
        """The ports that Nova lists."""
        return {item.port_id for item in self.nova.interfaces(self.server)}

    def ended(self, request: str) -> Outcome:
        """How the action ended."""
        until(lambda: self.nova.outcome(self.server, request) is not Outcome.RUNNING)
        return self.nova.outcome(self.server, request)


class Nics:
    """A server's NICs."""

    def test_the_server_is_told(self, site: Site) -> None:
        server = site.nova.server(site.server)
        assert (server.id, server.status, server.vm_state) == (site.server, "ACTIVE", "active")
        assert (server.task_state, server.locked, server.takes_nics) == ("", False, True)

    def test_a_port_is_attached_with_all_that_it_has(self, site: Site) -> None:
        port = site.new_port()
        made = site.nova.attach(site.server, port.id)
        assert (made.port_id, made.network_id, made.mac) == (port.id, port.network_id, port.mac)
        assert set(made.addresses) == port.addresses
        assert port.id in site.attached()
        now = site.neutron.port(port.id)
        assert server_of(now) == site.server
        assert now.tags == {"kept"}

    def test_a_port_is_detached_and_kept(self, site: Site) -> None:
        port = site.new_port()
        site.nova.attach(site.server, port.id)
        request = site.nova.detach(site.server, port.id)
        assert site.ended(request) is Outcome.DONE
        until(lambda: site.holder(port) == "")
        assert port.id not in site.attached()
        now = site.neutron.port(port.id)
        assert (now.mac, now.addresses) == (port.mac, port.addresses)
        assert now.tags == {"kept"}
        assert server_of(now) == ""

    def test_a_port_is_attached_again_after_it_was_detached(self, site: Site) -> None:
        port = site.new_port()
        for _ in range(2):
            site.nova.attach(site.server, port.id)
            assert site.holder(port) == site.server
            assert site.ended(site.nova.detach(site.server, port.id)) is Outcome.DONE
            until(lambda: site.holder(port) == "")

    def test_a_port_is_attached_once(self, site: Site) -> None:
        port = site.new_port()
        site.nova.attach(site.server, port.id)
        with pytest.raises(ObjectInUse, match="still in use") as caught:
            site.nova.attach(site.server, port.id)
        assert caught.value.code == Code.CONFLICT
        assert site.holder(port) == site.server

    def test_a_port_that_somebody_else_has_is_not_attached(self, site: Site) -> None:
        port = site.new_port(device_id="somebody")
        with pytest.raises(ObjectInUse, match="still in use"):
            site.nova.attach(site.server, port.id)
        assert site.holder(port) == "somebody"

    def test_a_port_of_another_project_is_not_attached(self, site: Site) -> None:
        port = site.new_port(project_id="6" * 32)
        with pytest.raises(Refused, match="not usable") as caught:
            site.nova.attach(site.server, port.id)
        assert caught.value.code == Code.INVALID_CONFIG
        assert site.holder(port) == ""

    def test_a_server_that_does_not_exist(self, site: Site) -> None:
        port = site.new_port()
        calls: list[Callable[[], object]] = [
            lambda: site.nova.server(NOWHERE),
            lambda: site.nova.interfaces(NOWHERE),
            lambda: site.nova.attach(NOWHERE, port.id),
            lambda: site.nova.detach(NOWHERE, port.id),
            lambda: site.nova.outcome(NOWHERE, REQUEST),
        ]
        for call in calls:
            with pytest.raises(NotFound, match=NOWHERE) as caught:
                call()
            assert caught.value.code == Code.NOT_FOUND
        assert site.holder(port) == ""

    def test_a_port_that_does_not_exist_is_not_attached(self, site: Site) -> None:
        with pytest.raises(NotFound, match=NOWHERE):
            site.nova.attach(site.server, NOWHERE)

    def test_detaching_what_is_not_attached_is_accepted_and_fails(self, site: Site) -> None:
        for port_id in (site.new_port().id, NOWHERE):
            assert site.ended(site.nova.detach(site.server, port_id)) is Outcome.FAILED

    def test_an_action_that_nobody_asked_for(self, site: Site) -> None:
        with pytest.raises(NotFound):
            site.nova.outcome(site.server, REQUEST)


class Faults:
    """What goes wrong, and what is true after it."""

    def test_a_state_that_refuses_changes_nothing_and_may_pass(self, site: Site) -> None:
        ports = [site.new_port(), site.new_port()]
        site.nova.attach(site.server, ports[0].id)
        with site.state_refuses():
            assert not site.nova.server(site.server).takes_nics
            with pytest.raises(ServerBusy, match="while it is in vm_state error") as caught:
                site.nova.attach(site.server, ports[1].id)
            assert caught.value.code == Code.TRY_AGAIN
            with pytest.raises(ServerBusy):
                site.nova.detach(site.server, ports[0].id)
            assert [site.holder(port) for port in ports] == [site.server, ""]
        site.nova.attach(site.server, ports[1].id)

    def test_a_hypervisor_that_refuses_is_a_lost_answer_and_the_port_is_free(
        self, site: Site
    ) -> None:
        port = site.new_port()
        with site.attach_fails(), pytest.raises(AnswerLost, match="Failed to attach") as caught:
            site.nova.attach(site.server, port.id)
        assert "500" in caught.value.message
        assert "Nova's log for request req-" in caught.value.details
        assert site.holder(port) == ""
        site.nova.attach(site.server, port.id)

    def test_an_attach_without_an_answer_is_seen_at_the_port(self, site: Site) -> None:
        port = site.new_port()
        short = site.nova.within(Deadline.after(SHORT))
        with site.attach_unanswered(), pytest.raises(AnswerLost):
            short.attach(site.server, port.id)
        until(lambda: site.holder(port) == site.server)
        with pytest.raises(ObjectInUse):
            site.nova.attach(site.server, port.id)
        assert site.ended(site.nova.detach(site.server, port.id)) is Outcome.DONE
        until(lambda: site.holder(port) == "")

    def test_a_hypervisor_that_keeps_a_nic_is_told(self, site: Site) -> None:
        port = site.new_port()
        site.nova.attach(site.server, port.id)
        with site.detach_fails():
            assert site.ended(site.nova.detach(site.server, port.id)) is Outcome.FAILED
        assert site.holder(port) == site.server
        assert site.ended(site.nova.detach(site.server, port.id)) is Outcome.DONE


def until(true: Callable[[], bool]) -> None:
    """Return when it is; fail when it is not to be expected any more."""
    end = time.monotonic() + GIVE_UP
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)

"""The calls of Nova where a real one can't be made to show it: other clouds, faults on the way."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from neutron_cni.openstack import patience as module
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    Forbidden,
    ObjectInUse,
    OverQuota,
    Refused,
    ServerBusy,
    ServerLocked,
    Unauthorized,
    Unreachable,
)
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.openstack.nova_service import NOVA
from neutron_cni.openstack.patience import BUSY_TRIES, CONNECT_TRIES
from neutron_cni.openstack.types import Outcome, Server
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code
from tests.fakes import FakeKeystone, FakeNeutron, Fault
from tests.fakes.api import Request, answer
from tests.fakes.faults import FOREVER, Drop
from tests.fakes.keystone import SECRET
from tests.fakes.nova import FakeServer, NovaRefusal, new_server
from tests.fakes.raw import RawServer, whole_request
from tests.support.openstack_doubles import Waits, clouds_yaml, no_auth

ATTACH = "POST /v2.1/servers/{id}/os-interface"
DETACH = "DELETE /v2.1/servers/{id}/os-interface/{id}"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(module, "time", waits)
    return waits


@pytest.fixture
def nova(neutron: FakeNeutron, tmp_path: Path) -> Nova:
    return Nova.connect("fake", no_auth(tmp_path, neutron.url), Deadline.after(60))


@pytest.fixture
def server(neutron: FakeNeutron) -> FakeServer:
    return new_server(neutron.cloud)


@pytest.fixture
def port(neutron: FakeNeutron) -> str:
    """Id of a port that nobody has."""
    network = made(neutron, "networks", "network", {})
    return made(neutron, "ports", "port", {"network_id": network})


def made(fake: FakeNeutron, collection: str, member: str, attributes: dict[str, str]) -> str:
    """Id of a new object, made without HTTP."""
    reply = answer(fake.cloud, Request("POST", f"/{collection}", {}, {member: attributes}))[1]
    assert reply is not None
    return str(reply[member]["id"])


def body(status: int, message: str) -> str:
    """As Nova writes a refusal."""
    return json.dumps(NovaRefusal(status, message).body())


class TestServers:
    """What a server is, as clouds tell it or not."""

    def test_what_is_told(self, nova: Nova, server: FakeServer) -> None:
        server.extra_specs["hw:pci_numa_affinity_policy"] = "preferred"
        found = nova.server(server.id)
        assert found.extra_specs == {"hw:pci_numa_affinity_policy": "preferred"}
        assert found.status == "ACTIVE"

    def test_a_policy_may_leave_out_all_but_the_id(self) -> None:
        found = Server.from_json({"id": "s", "flavor": {"id": "1", "links": []}})
        assert found == Server("s", "", "", "", False, {})
        assert found.takes_nics

    @pytest.mark.parametrize("state", ["suspended", "error", "building", "shelved_offloaded"])
    def test_states_that_take_none(self, nova: Nova, server: FakeServer, state: str) -> None:
        server.vm_state = state
        assert not nova.server(server.id).takes_nics

    @pytest.mark.parametrize("state", ["paused", "stopped"])
    def test_states_that_take_some(
        self, nova: Nova, server: FakeServer, port: str, state: str
    ) -> None:
        server.vm_state = state
        assert nova.server(server.id).takes_nics
        nova.attach(server.id, port)

    def test_a_task_under_way(self, nova: Nova, server: FakeServer, port: str) -> None:
        server.task_state = "rebooting"
        assert not nova.server(server.id).takes_nics
        with pytest.raises(ServerBusy, match="task_state rebooting") as caught:
            nova.attach(server.id, port)
        assert "passes" in caught.value.details

    def test_a_lock(self, nova: Nova, server: FakeServer, port: str) -> None:
        server.locked = True
        assert not nova.server(server.id).takes_nics
        for call in (nova.attach, nova.detach):
            with pytest.raises(ServerLocked, match="locked") as caught:
                call(server.id, port)
            assert caught.value.code == Code.CREDENTIALS
            assert "unlock" in caught.value.details


class TestRefusals:
    """Which refusal of Nova becomes which error."""

    @pytest.mark.parametrize(
        ("status", "message", "wanted", "code"),
        [
            (401, "", Unauthorized, Code.CREDENTIALS),
            (
                403,
                "Policy doesn't allow os_compute_api:os-attach-interfaces:create to be performed.",
                Forbidden,
                Code.CREDENTIALS,
            ),
            (403, "Maximum number of ports exceeded", OverQuota, Code.EXHAUSTED),
            (400, "Port x not usable for instance y.", Refused, Code.INVALID_CONFIG),
            (406, "Version 2.51 is not supported by the API.", Refused, Code.INVALID_CONFIG),
            (409, "Port x is still in use.", ObjectInUse, Code.CONFLICT),
            (409, "Instance x is locked", ServerLocked, Code.CREDENTIALS),
            (413, "", Refused, Code.TRY_AGAIN),
        ],
    )
    def test_kinds(self, status: int, message: str, wanted: type[CloudError], code: Code) -> None:
        error = NOVA.refusal(status, body(status, message).encode(), "doing it")
        assert type(error) is wanted
        assert error.code == code
        assert error.message.startswith("doing it: ")

    def test_who_lacks_a_role_is_told_which(self) -> None:
        said = "Policy doesn't allow os_compute_api:os-attach-interfaces:create to be performed."
        error = NOVA.refusal(403, body(403, said).encode(), "x")
        assert "os-attach-interfaces:create" in error.message
        assert "`member`" in error.details

    def test_a_call_outside_the_access_rules_is_told_as_that(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer
    ) -> None:
        neutron.faults.add(Fault("GET", "os-interface", status=401, times=FOREVER))
        with pytest.raises(Unauthorized) as caught:
            nova.interfaces(server.id)
        assert "access rules" in caught.value.details


class TestLostAnswers:
    """A change that may have been made is never repeated."""

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_sent_once_when_nova_fails(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str, status: int
    ) -> None:
        neutron.faults.add(Fault(status=status, times=FOREVER))
        for call in (nova.attach, nova.detach):
            with pytest.raises(AnswerLost, match=f"Nova failed with {status}") as caught:
                call(server.id, port)
            assert "req-" in caught.value.details
        assert neutron.calls == {ATTACH: 1, DETACH: 1}

    def test_what_nova_says_to_it_is_passed_on(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str
    ) -> None:
        said = "Unexpected API Error. <class 'oslo_messaging.exceptions.MessagingTimeout'>"
        neutron.faults.add(Fault("POST", status=500, body=body(500, said)))
        with pytest.raises(AnswerLost, match="MessagingTimeout"):
            nova.attach(server.id, port)

    @pytest.mark.parametrize("drop", Drop)
    def test_of_a_connection_that_breaks_the_port_tells(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str, drop: Drop
    ) -> None:
        neutron.faults.add(Fault("POST", drop=drop))
        with pytest.raises(AnswerLost):
            nova.attach(server.id, port)
        assert neutron.calls[ATTACH] == 1
        there = [item.port_id for item in nova.interfaces(server.id)]
        assert there == ([port] if drop is Drop.AFTER else [])

    def test_of_a_detach_a_second_one_does_no_harm(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str
    ) -> None:
        nova.attach(server.id, port)
        neutron.faults.add(Fault("DELETE", drop=Drop.AFTER))
        with pytest.raises(AnswerLost):
            nova.detach(server.id, port)
        assert nova.outcome(server.id, nova.detach(server.id, port)) is Outcome.FAILED
        assert nova.interfaces(server.id) == []

    def test_a_slow_attach_goes_on(
        self,
        neutron: FakeNeutron,
        nova: Nova,
        server: FakeServer,
        port: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "CALL_TIMEOUT", 0.3)
        neutron.faults.add(Fault("POST", delay=3600))
        with pytest.raises(AnswerLost, match="no answer from Nova"):
            nova.attach(server.id, port)
        assert neutron.cloud.ports[port]["device_id"] == ""

    def test_a_body_with_a_detach_is_none_of_novas(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str
    ) -> None:
        neutron.faults.add(Fault("DELETE", status=202, body='{"done": true}'))
        with pytest.raises(AnswerLost, match="not as Nova answers"):
            nova.detach(server.id, port)


class TestPatience:
    """What is tried again, as with Neutron."""

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_reads(
        self,
        neutron: FakeNeutron,
        nova: Nova,
        server: FakeServer,
        waits: Waits,
        status: int,
    ) -> None:
        neutron.faults.add(Fault("GET", status=status, times=BUSY_TRIES - 1))
        assert nova.server(server.id).id == server.id
        assert len(waits) == BUSY_TRIES - 1

    def test_a_change_when_the_rate_is_limited(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str, waits: Waits
    ) -> None:
        said = '{"overLimit": {"code": 429, "message": "slow down", "retryAfter": "0"}}'
        neutron.faults.add(Fault("POST", status=429, body=said, times=2))
        nova.attach(server.id, port)
        assert neutron.calls[ATTACH] == 3

    def test_nothing_listens(
        self, neutron: FakeNeutron, nova: Nova, server: FakeServer, port: str, waits: Waits
    ) -> None:
        neutron.stop()
        with pytest.raises(Unreachable, match="Nova is unreachable"):
            nova.attach(server.id, port)
        assert len(waits) == CONNECT_TRIES - 1


class TestOutcomes:
    """How far an action is, as clouds tell it or not."""

    @pytest.mark.parametrize(
        ("events", "message", "wanted"),
        [
            ([{"finish_time": "2026-01-01T00:00:00.000000", "result": "Success"}], None, "DONE"),
            ([{"finish_time": "2026-01-01T00:00:00.000000", "result": "Error"}], None, "FAILED"),
            ([{"finish_time": None, "result": None}], None, "RUNNING"),
            ([], None, "RUNNING"),
            (None, None, "RUNNING"),
            (None, "Error", "FAILED"),
        ],
    )
    def test_what_is_told(
        self,
        neutron: FakeNeutron,
        nova: Nova,
        server: FakeServer,
        events: object,
        message: str | None,
        wanted: str,
    ) -> None:
        action = {"request_id": "req-1", "message": message, "events": events}
        server.actions["req-1"] = action
        assert nova.outcome(server.id, "req-1") is Outcome[wanted]

    def test_a_cloud_that_does_not_tell_the_request(self, tmp_path: Path) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(
                b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )

        with RawServer(talk) as raw:
            file = no_auth(tmp_path, raw.url)
            assert Nova.connect("fake", file, Deadline.after(20)).detach("s", "p") == ""


class TestEndpoints:
    """Where Nova is, by a catalog, and which version of its API is spoken."""

    @pytest.mark.parametrize(
        ("endpoint", "base"),
        [
            ("http://nova:8774/v2.1", "http://nova:8774/v2.1"),
            ("http://nova:8774/v2.1/5555", "http://nova:8774/v2.1/5555"),
            ("http://nova:8774/v2/5555", "http://nova:8774/v2.1/5555"),
            ("http://nova:8774/v2", "http://nova:8774/v2.1"),
            ("http://nova:8774", "http://nova:8774/v2.1"),
            ("https://cloud.example/compute", "https://cloud.example/compute/v2.1"),
            ("https://cloud.example/compute/v2.1", "https://cloud.example/compute/v2.1"),
            ("https://cloud.example/v2/compute/v2.1", "https://cloud.example/v2/compute/v2.1"),
        ],
    )
    def test_of_catalogs(self, endpoint: str, base: str) -> None:
        assert NOVA.base(endpoint) == base

    def test_each_call_says_which_version_it_is_written_for(self, tmp_path: Path) -> None:
        seen: list[bytes] = []

        def talk(connection: socket.socket, stopping: Event) -> None:
            seen.append(whole_request(connection))
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 23\r\n\r\n"
            connection.sendall(head + b'{"server": {"id": "s"}}')

        with RawServer(talk) as raw:
            Nova.connect("fake", no_auth(tmp_path, raw.url), Deadline.after(20)).server("s")
        assert seen[0].startswith(b"GET /v2.1/servers/s ")
        assert b"\r\nopenstack-api-version: compute 2.51\r\n" in seen[0].lower()


class TestOneCloud:
    """Both services of a cloud have one login, and one connection."""

    @pytest.fixture
    def both(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path
    ) -> Iterator[tuple[Neutron, Nova]]:
        keystone.compute_url = f"{neutron.url}/v2.1"
        entry = (
            "{auth_type: v3applicationcredential, region_name: RegionOne, auth: "
            f"{{auth_url: '{keystone.url}/v3', application_credential_id: a, "
            f"application_credential_secret: {SECRET}}}}}"
        )
        file = clouds_yaml(tmp_path, f"clouds: {{c: {entry}}}\n")
        found = Neutron.connect("c", file, Deadline.after(60))
        yield found, Nova.beside(found)
        found.close()

    def test_one_login(
        self, both: tuple[Neutron, Nova], keystone: FakeKeystone, server: FakeServer, port: str
    ) -> None:
        neutron, nova = both
        nova.attach(server.id, port)
        assert neutron.port(port).device_id == server.id
        nova.detach(server.id, port)
        assert keystone.logins == 1

    def test_a_token_that_one_is_refused_is_replaced_for_both(
        self,
        both: tuple[Neutron, Nova],
        neutron: FakeNeutron,
        keystone: FakeKeystone,
        server: FakeServer,
        port: str,
    ) -> None:
        network, nova = both
        network.port(port)
        keystone.token = neutron.token = "another"
        assert nova.interfaces(server.id) == []
        network.port(port)
        assert keystone.logins == 2

    def test_one_connection(
        self, both: tuple[Neutron, Nova], neutron: FakeNeutron, server: FakeServer, port: str
    ) -> None:
        network, nova = both
        network.port(port)
        before = set(neutron.connections)
        for _ in range(2):
            network.port(port)
            nova.interfaces(server.id)
        assert set(neutron.connections) == before

    def test_a_catalog_without_nova(
        self, both: tuple[Neutron, Nova], keystone: FakeKeystone, server: FakeServer, port: str
    ) -> None:
        keystone.compute_url = None
        neutron, nova = both
        neutron.port(port)
        with pytest.raises(Unauthorized, match="for compute service in RegionOne region not found"):
            nova.server(server.id)

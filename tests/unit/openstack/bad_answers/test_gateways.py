"""What stands between us and the cloud: gateways, proxies, connections that are lost."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Event

import pytest
from requests.adapters import HTTPAdapter

from neutron_cni.openstack import transport
from neutron_cni.openstack.errors import AnswerLost, Unauthorized, Unreachable
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from tests.fakes import FakeNeutron, Fault
from tests.fakes.raw import RawServer, whole_request
from tests.support.openstack_doubles import Waits, no_auth
from tests.unit.openstack.bad_answers.calls import (
    CALLS,
    CHANGES,
    ID,
    NOVA_READS,
    answering,
    asked_by,
    calls_of,
    refused,
)

GATEWAYS = {
    "text": "default backend - 404",
    "html": "<html><body><h1>Not here</h1></body></html>",
    "json": '{"message": "no Route matched with those values"}',
    "json error": '{"error": "not found"}',
    "json list": "[]",
    "empty": "",
    "nova's form": '{"itemNotFound": "x"}',
    "nova's and more": '{"itemNotFound": {"code": 404, "message": "x"}, "more": 1}',
    "another key": '{"notFound": {"code": 404, "message": "x"}}',
}
OTHERS = {
    "Neutron": '{"itemNotFound": {"code": 404, "message": "x"}}',
    "Nova": '{"NeutronError": {"type": "PortNotFound", "message": "x", "detail": ""}}',
}
"""What a service would say if it were another."""


REFUSABLE = ("port", "ports", "port_quota", *NOVA_READS, *CHANGES)


class TestGateways:
    """What is refused, or not found, by somebody in front of the service."""

    @pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS)
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 418])
    def test_is_no_refusal_of_the_services(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int, body: str
    ) -> None:
        answering(fake, body, status)
        for name in REFUSABLE:
            error = refused(CALLS[name], neutron)
            assert isinstance(error, AnswerLost), name
            assert str(status) in error.message

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
    def test_another_service_refuses_nothing(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int
    ) -> None:
        for service, body in OTHERS.items():
            answering(fake, body, status)
            for name in REFUSABLE:
                if asked_by(name) == service:
                    assert isinstance(refused(CALLS[name], neutron), AnswerLost), name

    @pytest.mark.parametrize("status", [404, 408])
    def test_a_read_is_repeated(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int
    ) -> None:
        body = GATEWAYS["text"]
        fake.faults.add(Fault("GET", "/ports", status=status, body=body, times=2))
        assert neutron.ports() == []
        assert len(waits) == 2

    @pytest.mark.parametrize("status", [404, 408])
    @pytest.mark.parametrize(
        "name", ["create_port", "set_fixed_ips", "delete_port", "attach", "detach"]
    )
    def test_a_change_is_not(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int, name: str
    ) -> None:
        neutron.ports()
        answering(fake, GATEWAYS["html"], status)
        fake.calls.clear()
        refused(CALLS[name], neutron)
        assert sum(n for kind, n in fake.calls.items() if not kind.startswith("GET")) == 1

    def test_a_401_of_an_older_middleware_is_one(self, tmp_path: Path) -> None:
        """Text instead of JSON, but with the header that keystonemiddleware always sends."""

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(
                b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Keystone uri='http://k'\r\n"
                b"Content-Type: text/html\r\nContent-Length: 23\r\n\r\nAuthentication required"
            )

        with RawServer(talk) as server:
            for call in calls_of(tmp_path, server.url, 5):
                with pytest.raises(Unauthorized):
                    call()

    def test_a_408_of_neutrons_own_is_repeated(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits
    ) -> None:
        body = '{"NeutronError": {"type": "HTTPRequestTimeout", "message": "", "detail": ""}}'
        fake.faults.add(Fault("GET", "/ports", status=408, body=body, times=1))
        assert neutron.ports() == []


class TestProxies:
    """A proxy that can't be used: nothing was sent."""

    @pytest.mark.parametrize(
        "proxy", ["socks5://127.0.0.1:1", "http://127.0.0.1:1", "nonsense://x", "http://[::1"]
    )
    def test_that_can_not_be_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, waits: Waits
    ) -> None:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        for call in calls_of(tmp_path, "http://192.0.2.1:9696", 20):
            with pytest.raises(Unreachable):
                call()

    def test_that_wants_a_login(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
    ) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(b"HTTP/1.1 407 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

        with RawServer(talk) as server:
            monkeypatch.setenv("http_proxy", server.url)
            monkeypatch.setenv("https_proxy", server.url)
            for url in ("http://192.0.2.1:9696", "https://192.0.2.1:9696"):
                for call in calls_of(tmp_path, url, 20):
                    with pytest.raises(Unreachable, match="407"):
                        call()


class TestLostAnswers:
    """A change that may have been made is never taken for one that was not sent."""

    @pytest.mark.parametrize("host", ["LOCALHOST", "127.0.0.1"])
    def test_however_the_endpoint_is_written(self, tmp_path: Path, host: str, waits: Waits) -> None:
        """The libraries write a host in lower case, the catalog as somebody typed it."""
        requests: list[bytes] = []

        def talk(connection: socket.socket, stopping: Event) -> None:
            requests.append(whole_request(connection))

        with RawServer(talk) as server:
            file = no_auth(tmp_path, server.url.replace("127.0.0.1", host))
            with pytest.raises(AnswerLost):
                Neutron.connect("fake", file, Deadline.after(20)).delete_port(ID)
        assert len(requests) == 1

    def test_with_a_library_that_does_not_tell_when_it_opens_a_connection(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
    ) -> None:
        """As requests before 2.32.2."""
        hook = "get_connection_with_tls_context"
        monkeypatch.setattr(transport._Wire, hook, getattr(HTTPAdapter, hook))

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)

        with RawServer(talk) as server:
            file = no_auth(tmp_path, server.url)
            with pytest.raises(AnswerLost):
                Neutron.connect("fake", file, Deadline.after(20)).delete_port(ID)

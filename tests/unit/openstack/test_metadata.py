"""What the metadata service says of a VM's NICs, and what is no answer at all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread
from types import MappingProxyType

import pytest

from neutron_cni.openstack import transport
from neutron_cni.openstack.metadata import (
    MetadataLink,
    NoMetadata,
    links_of_this_vm,
    server_id_of_this_vm,
)
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code
from tests.fakes.raw import RawServer, whole_request


class Service(HTTPServer):
    """A metadata service on this host with one answer for everything."""

    status = 200
    body = b""
    asked = ""
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        service = self.server
        assert isinstance(service, Service)
        service.asked = self.path
        self.send_response(service.status)
        for name, value in service.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(service.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    """The service, while the test runs."""
    with Service() as made:
        thread = Thread(target=made.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_links_have_lower_case_macs_and_port_ids(service: Service) -> None:
    service.body = (
        b'{"links": [{"ethernet_mac_address": "FA:16:3E:00:00:01", "vif_id": "p1"},'
        b' {"ethernet_mac_address": "fa:16:3e:00:00:02", "vif_id": "p2"},'
        b' {"id": "bond0", "ethernet_mac_address": "fa:16:3e:00:00:02"}]}'
    )
    assert links_of_this_vm(service.url) == [
        MetadataLink("fa:16:3e:00:00:01", "p1"),
        MetadataLink("fa:16:3e:00:00:02", "p2"),
    ]
    assert service.asked == "/openstack/latest/network_data.json"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b"{}", "answered 500"),
        (429, b"", "answered 429"),
        (204, b"", "answered 204"),
        (200, b"", "is no object"),
        (200, b"<html><title>Log in</title></html>", "a page of HTML: 'Log in'"),
        (200, b"[]", "is no object"),
        (200, b'{"links": {}}', "`links` is no list"),
        (200, b'{"links": [5]}', "an item of `links` is no object"),
        (200, b'{"links": [{"vif_id": 5}]}', "`vif_id` is no string"),
        (200, b'{"links": [{"vif_id": "p", "ethernet_mac_address": []}]}', "is no string"),
        (200, b"\xff", "not JSON"),
        (200, b"[" * 100_000, "not JSON"),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, bytes) else None,
)
def test_an_answer_of_another_shape_is_trouble_that_may_pass(
    service: Service, status: int, body: bytes, says: str
) -> None:
    service.status, service.body = status, body
    with pytest.raises(NoMetadata, match="no usable answer") as caught:
        links_of_this_vm(service.url)
    assert caught.value.code == Code.TRY_AGAIN
    assert says in caught.value.message


def test_a_service_that_knows_nothing_of_this_vm_says_so(service: Service) -> None:
    service.status = 404
    with pytest.raises(NoMetadata, match="knows nothing of this VM") as caught:
        links_of_this_vm(service.url)
    assert caught.value.code == Code.PORT_NOT_FOUND


def test_of_a_vm_without_links_there_are_none(service: Service) -> None:
    service.body = b'{"links": null}'
    assert links_of_this_vm(service.url) == []


def test_a_redirect_is_not_followed(service: Service) -> None:
    with RawServer(answering(b"200 OK", b'{"links": []}')) as elsewhere:
        service.status, service.headers = 302, {"Location": f"{elsewhere.url}/?secret"}
        with pytest.raises(NoMetadata, match="redirects are not followed") as caught:
            links_of_this_vm(service.url)
        assert elsewhere.connections == 0
    assert caught.value.code == Code.TRY_AGAIN
    assert "secret" not in str(caught.value)


def test_an_endless_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1 << 20)

    def endless(connection: socket.socket, stopping: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stopping.is_set():
            connection.sendall(b" " * 65536)

    with RawServer(endless) as server, pytest.raises(NoMetadata, match="more than 1 MiB") as caught:
        links_of_this_vm(server.url)
    assert caught.value.code == Code.TRY_AGAIN


def test_an_answer_that_drips_ends_by_the_deadline() -> None:
    def dripping(connection: socket.socket, stopping: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stopping.wait(0.02):
            connection.sendall(b" ")

    with RawServer(dripping) as server, pytest.raises(NoMetadata, match="timed out") as caught:
        links_of_this_vm(server.url, Deadline.after(0.3))
    assert caught.value.code == Code.TRY_AGAIN


def test_a_service_that_is_not_there_is_trouble_that_may_pass() -> None:
    with pytest.raises(NoMetadata, match="refused") as caught:
        links_of_this_vm("http://127.0.0.1:1")
    assert caught.value.code == Code.TRY_AGAIN


@pytest.mark.parametrize("url", ["169.254.169.254", "http://", "http://[::1", "ftp://x"])
def test_a_url_that_is_none_does_not_pass_by_itself(url: str) -> None:
    with pytest.raises(NoMetadata, match="no usable answer") as caught:
        links_of_this_vm(url)
    assert caught.value.code == Code.PORT_NOT_FOUND


def test_no_proxy_of_the_environment_is_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    service.body = b"{}"
    assert links_of_this_vm(service.url) == []


def test_the_servers_id_is_the_uuid_whatever_its_name(service: Service) -> None:
    service.body = b'{"uuid": "5c1d9d0e-0000-4000-8000-000000000001", "name": "other"}'
    assert server_id_of_this_vm(service.url) == "5c1d9d0e-0000-4000-8000-000000000001"
    assert service.asked == "/openstack/latest/meta_data.json"


@pytest.mark.parametrize(
    ("status", "body", "says", "code"),
    [
        (404, b"", "knows nothing of this VM", Code.PORT_NOT_FOUND),
        (500, b"{}", "answered 500", Code.TRY_AGAIN),
        (200, b"<html>", "a page of HTML", Code.TRY_AGAIN),
        (200, b"[]", "is no object", Code.TRY_AGAIN),
        (200, b"{}", "it has no `uuid`", Code.TRY_AGAIN),
        (200, b'{"uuid": 5}', "`uuid` is no id", Code.TRY_AGAIN),
        (200, b'{"uuid": "../x"}', "`uuid` is no id", Code.TRY_AGAIN),
    ],
)
def test_a_servers_id_that_is_not_told(
    service: Service, status: int, body: bytes, says: str, code: Code
) -> None:
    service.status, service.body = status, body
    with pytest.raises(NoMetadata, match=says) as caught:
        server_id_of_this_vm(service.url)
    assert caught.value.code == code


def answering(status: bytes, body: bytes) -> Callable[[socket.socket, Event], None]:
    def answer(connection: socket.socket, stopping: Event) -> None:
        whole_request(connection)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n" + body)

    return answer

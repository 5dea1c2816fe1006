"""What the metadata service says of a VM's NICs, and what is no answer at all."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from neutron_cni.openstack.metadata import MetadataLink, links_of_this_vm
from neutron_cni.values.errors import CniError, Code


class Service(HTTPServer):
    """A metadata service on this host with one answer for everything."""

    status = 200
    body = b""
    asked = ""

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
        self.end_headers()
        self.wfile.write(service.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    """The service, while the test runs."""
    with Service() as made:
        thread = Thread(target=made.serve_forever, daemon=True)
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
    ("status", "body"),
    [(404, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"links": [5]}'), (200, b"\xff")],
)
def test_anything_else_is_no_usable_answer(service: Service, status: int, body: bytes) -> None:
    service.status, service.body = status, body
    with pytest.raises(CniError, match="no usable answer") as caught:
        links_of_this_vm(service.url)
    assert caught.value.code == Code.PORT_NOT_FOUND


def test_of_a_vm_without_links_there_are_none(service: Service) -> None:
    service.body = b'{"links": null}'
    assert links_of_this_vm(service.url) == []

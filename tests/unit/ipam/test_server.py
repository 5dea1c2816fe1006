"""Which server this node is: what its port says, and what the metadata service does."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest

from neutron_cni.ipam.server import server_of, this_server
from neutron_cni.openstack.types import Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes.raw import RawServer, whole_request

SERVER = "5c1d9d0e-0000-4000-8000-000000000001"
PORT = replace(
    Port.from_json({"id": "p", "network_id": "n", "fixed_ips": []}),
    device_id=SERVER,
    device_owner="compute:nova",
)
NOWHERE = "http://127.0.0.1:1"


def saying(status: str, body: str) -> Callable[[socket.socket, Event], None]:
    def talk(connection: socket.socket, stopping: Event) -> None:
        whole_request(connection)
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())

    return talk


@pytest.mark.parametrize(
    ("owner", "device", "wanted"),
    [
        ("compute:nova", SERVER, SERVER),
        ("compute:zone 1", SERVER, SERVER),
        ("compute:", SERVER, SERVER),
        ("", SERVER, ""),
        ("neutron-cni", SERVER, ""),
        ("network:dhcp", SERVER, ""),
        ("compute:nova", "", ""),
        ("compute:nova", "../x", ""),
    ],
)
def test_a_port_is_a_servers_by_its_owner(owner: str, device: str, wanted: str) -> None:
    assert server_of(replace(PORT, device_owner=owner, device_id=device)) == wanted


def test_the_metadata_service_is_not_asked_where_the_port_tells() -> None:
    assert this_server(PORT, NOWHERE, Deadline.after(60)) == SERVER


def test_the_metadata_service_tells_where_the_port_does_not() -> None:
    port = replace(PORT, device_owner="")
    with RawServer(saying("200 OK", f'{{"uuid": "{SERVER}", "name": "other"}}')) as metadata:
        assert this_server(port, metadata.url, Deadline.after(60)) == SERVER


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("404 Not Found", "", Code.PORT_NOT_FOUND),
        ("500 Oh", "", Code.TRY_AGAIN),
        ("200 OK", '{"name": "x"}', Code.TRY_AGAIN),
        ("200 OK", '{"uuid": "../x"}', Code.TRY_AGAIN),
    ],
)
def test_where_neither_tells_the_error_says_what_was_tried(
    status: str, body: str, code: Code
) -> None:
    port = replace(PORT, device_owner="network:dhcp")
    with RawServer(saying(status, body)) as metadata, pytest.raises(CniError) as caught:
        this_server(port, metadata.url, Deadline.after(60))
    assert caught.value.code == code
    assert "device_owner network:dhcp" in caught.value.message
    assert "metadata service" in caught.value.message

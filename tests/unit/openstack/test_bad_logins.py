"""Keystone's odd answers, its limits, gateways in front of it, and vendors' profiles."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from neutron_cni.openstack import patience
from neutron_cni.openstack.client import Client
from neutron_cni.openstack.errors import CloudError, Unauthorized, Unreachable
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes import FakeKeystone, FakeNeutron
from tests.fakes.keystone import SECRET
from tests.fakes.raw import RawServer, whole_request
from tests.support.openstack_doubles import Waits, client_from, clouds_yaml, get, put

ENTRIES: dict[str, dict[str, Any]] = {
    "application credential": {
        "auth_type": "v3applicationcredential",
        "auth": {"application_credential_id": "i", "application_credential_secret": SECRET},
    },
    "password": {
        "auth": {
            "username": "u",
            "password": SECRET,
            "project_name": "p",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
    },
}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(patience, "time", waits)
    return waits


@pytest.fixture(params=ENTRIES)
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ENTRIES[request.param]


def client(folder: Path, entry: dict[str, Any], url: str) -> Client:
    cloud = entry | {"auth": entry["auth"] | {"auth_url": url}}
    return client_from("c", clouds_yaml(folder, yaml.safe_dump({"clouds": {"c": cloud}})))


class TestLimits:
    """429 is no refusal of credentials: it is waited for."""

    @pytest.mark.parametrize("said", ["3", "date"])
    def test_is_waited_out_and_tried_again(
        self, keystone: FakeKeystone, tmp_path: Path, waits: Waits, entry: dict[str, Any], said: str
    ) -> None:
        if said == "date":
            said = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
        keystone.status, keystone.times, keystone.headers = 429, 2, {"Retry-After": said}
        assert get(client(tmp_path, entry, f"{keystone.url}/v3")) == {"ports": []}
        assert waits
        assert all(2 < wait < 8 for wait in waits)

    def test_that_stays_is_to_be_tried_again(
        self, keystone: FakeKeystone, tmp_path: Path, waits: Waits, entry: dict[str, Any]
    ) -> None:
        keystone.status = 429
        for call in both(client(tmp_path, entry, f"{keystone.url}/v3")):
            with pytest.raises(CloudError, match="429") as caught:
                call()
            assert caught.value.code == Code.TRY_AGAIN
            assert not isinstance(caught.value, Unauthorized)

    def test_longer_than_the_deadline_is_not_waited_for(
        self, keystone: FakeKeystone, tmp_path: Path, waits: Waits
    ) -> None:
        keystone.status, keystone.headers = 429, {"Retry-After": "20"}
        asked = client(tmp_path, ENTRIES["application credential"], f"{keystone.url}/v3")
        with pytest.raises(CloudError, match="429"):
            get(asked, seconds=5)
        assert waits == []

    def test_a_date_is_understood_for_neutron_too(self) -> None:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
        assert 7 < patience.retry_after(soon) <= 9
        assert patience.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def both(asked: Client) -> list[Callable[[], object]]:
    return [lambda: get(asked), lambda: put(asked, "/ports/x")]


class TestRefusals:
    """Only Keystone itself can refuse credentials."""

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_of_keystone(
        self, keystone: FakeKeystone, tmp_path: Path, entry: dict[str, Any], status: int
    ) -> None:
        keystone.status = status
        for call in both(client(tmp_path, entry, f"{keystone.url}/v3")):
            with pytest.raises(Unauthorized, match="refused our credentials"):
                call()

    @pytest.mark.parametrize(
        "body", ["<html>no</html>", "default backend - 404", '{"message": "no"}', "", "[]", "null"]
    )
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 418, 500, 503])
    def test_of_a_gateway_in_front_of_it(
        self,
        neutron: FakeNeutron,
        keystone: FakeKeystone,
        tmp_path: Path,
        waits: Waits,
        entry: dict[str, Any],
        status: int,
        body: str,
    ) -> None:
        keystone.status, keystone.body = status, body
        for path in ("/v3", ""):
            for call in both(client(tmp_path, entry, keystone.url + path)):
                with pytest.raises(Unreachable, match="Keystone") as caught:
                    call()
                assert caught.value.code == Code.TRY_AGAIN
        assert neutron.calls.total() == 0

    @pytest.mark.parametrize("status", [400, 409, 413])
    def test_another_of_keystones_own_is_one_too_and_says_what_it_said(
        self, keystone: FakeKeystone, tmp_path: Path, waits: Waits, status: int
    ) -> None:
        keystone.status = status
        keystone.body = json.dumps({"error": {"code": status, "message": "Expecting a domain."}})
        asked = client(tmp_path, ENTRIES["application credential"], f"{keystone.url}/v3")
        with pytest.raises(Unauthorized, match="Expecting a domain"):
            get(asked)


NOW = datetime(2999, 1, 1, tzinfo=UTC)
"""Tokens of then have not expired. The same for all processes, which must find the same tests."""
TOKENS: list[object] = [
    {"error": "maintenance"},
    {},
    [],
    None,
    5,
    "x",
    {"token": None},
    {"token": []},
    {"token": {}},
    {"token": {"expires_at": "soon"}},
    {"token": {"expires_at": 5}},
    {"token": {"expires_at": (NOW + timedelta(hours=1)).isoformat(), "catalog": 5}},
    {"token": {"expires_at": (NOW + timedelta(hours=1)).isoformat(), "catalog": [5]}},
    {"token": {"expires_at": (NOW + timedelta(hours=1)).isoformat(), "catalog": [{"type": []}]}},
    {"version": {"id": "v9"}},
    {"versions": 5},
    {"versions": [5]},
    {"versions": {"values": [{"id": "v3.14", "status": "stable", "links": 5}]}},
]


class TestAnswers:
    """2xx of another shape, without end, and redirects."""

    @pytest.mark.parametrize("body", TOKENS, ids=range(len(TOKENS)))
    def test_of_another_shape(
        self,
        keystone: FakeKeystone,
        tmp_path: Path,
        waits: Waits,
        entry: dict[str, Any],
        body: object,
    ) -> None:
        keystone.body = json.dumps(body)
        for path in ("/v3", ""):
            for call in both(client(tmp_path, entry, keystone.url + path)):
                with pytest.raises(CloudError) as caught:
                    call()
                # A token without a catalog is one: then there is no Neutron in it.
                wanted = Code.CREDENTIALS if "endpoint" in caught.value.message else Code.TRY_AGAIN
                assert caught.value.code == wanted

    @pytest.mark.parametrize("body", ["<html>", "[" * 100_000, "\x00", "9" * 10_000])
    def test_that_is_no_json(
        self,
        keystone: FakeKeystone,
        tmp_path: Path,
        waits: Waits,
        entry: dict[str, Any],
        body: str,
    ) -> None:
        keystone.body = body
        for call in both(client(tmp_path, entry, f"{keystone.url}/v3")):
            with pytest.raises(Unreachable, match="Keystone"):
                call()

    def test_that_drips(self, tmp_path: Path, entry: dict[str, Any]) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
            while not stopping.wait(0.05):
                connection.sendall(b" ")

        with RawServer(talk) as server:
            asked = client(tmp_path, entry, f"{server.url}/v3")
            began = time.monotonic()
            with pytest.raises(Unreachable, match="timed out"):
                put(asked, "/ports/x", seconds=1.0)
            assert time.monotonic() - began < 2

    def test_without_an_end(
        self, tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from neutron_cni.openstack import transport

        monkeypatch.setattr(transport, "LARGEST_ANSWER", 1 << 20)

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{")
            while not stopping.is_set():
                connection.send(b" " * 100_000)

        with RawServer(talk) as server:
            asked = client(tmp_path, entry, f"{server.url}/v3")
            with pytest.raises(Unreachable, match="more than 1 MiB"):
                get(asked, seconds=20)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_gets_no_password(
        self, tmp_path: Path, waits: Waits, entry: dict[str, Any], status: int
    ) -> None:
        elsewhere: list[bytes] = []

        def listen(connection: socket.socket, stopping: Event) -> None:
            elsewhere.append(whole_request(connection))

        with RawServer(listen) as other:

            def talk(connection: socket.socket, stopping: Event) -> None:
                whole_request(connection)
                head = (
                    f"HTTP/1.1 {status} There\r\nConnection: close\r\nLocation: {other.url}/v3\r\n"
                )
                connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())

            with RawServer(talk) as server:
                for call in both(client(tmp_path, entry, f"{server.url}/v3")):
                    with pytest.raises(Unreachable, match=f"redirect to {other.url}"):
                        call()
            assert elsewhere == []


def serving(status: int, body: bytes, head: str = "") -> Callable[[socket.socket, Event], None]:
    def talk(connection: socket.socket, stopping: Event) -> None:
        whole_request(connection)
        start = (
            f"HTTP/1.1 {status} X\r\nConnection: close\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(start.encode() + body)

    return talk


class TestProfiles:
    """A vendor's profile by URL."""

    def connected(self, folder: Path, profile: str, seconds: float = 20.0) -> Neutron:
        entry = {"clouds": {"c": {"profile": profile, "auth_type": "none"}}}
        file = clouds_yaml(folder, yaml.safe_dump(entry))
        return Neutron.connect("c", file, Deadline.after(seconds))

    def test_that_is_one(self, tmp_path: Path, neutron: FakeNeutron) -> None:
        profile = {"auth": {"endpoint": neutron.url}}
        body = json.dumps({"name": f"test-{neutron.url}", "profile": profile}).encode()
        with RawServer(serving(200, body)) as server:
            assert self.connected(tmp_path, server.url).ports() == []

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (429, b"slow down"),
            (404, b"<html>"),
            (401, b""),
            (503, b""),
            (200, b"<html>"),
            (200, b"{}"),
            (200, b"[]"),
            (200, b"null"),
            (200, b'{"name": [], "profile": {}}'),
            (200, b'{"name": "x", "profile": []}'),
        ],
    )
    def test_that_can_not_be_fetched(self, tmp_path: Path, status: int, body: bytes) -> None:
        with RawServer(serving(status, body)) as server, pytest.raises(CniError) as caught:
            self.connected(tmp_path, server.url)
        assert caught.value.code == Code.TRY_AGAIN
        assert "profile" in caught.value.message

    def test_whose_server_is_away(self, tmp_path: Path) -> None:
        with pytest.raises(Unreachable, match="Connection refused"):
            self.connected(tmp_path, "http://user:hunter2@127.0.0.1:1")

    def test_that_redirects(self, tmp_path: Path) -> None:
        head = "Location: http://127.0.0.1:1/\r\n"
        with RawServer(serving(302, b"", head)) as server, pytest.raises(Unreachable) as caught:
            self.connected(tmp_path, server.url)
        assert "redirect" in caught.value.message

    def test_that_drips(self, tmp_path: Path) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{")
            while not stopping.wait(0.05):
                connection.sendall(b" ")

        with RawServer(talk) as server:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="timed out"):
                self.connected(tmp_path, server.url, seconds=1.0)
            assert time.monotonic() - began < 2

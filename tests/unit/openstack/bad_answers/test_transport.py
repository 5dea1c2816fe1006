"""Answers that do not end, or lead elsewhere, and paths that nobody meant."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from neutron_cni.openstack import transport
from neutron_cni.openstack.errors import AnswerLost
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.nova import Nova
from neutron_cni.values.errors import CniError, Code
from tests.fakes import FakeNeutron
from tests.fakes.raw import RawServer, whole_request
from tests.support.openstack_doubles import Waits
from tests.unit.openstack.bad_answers.calls import (
    CALLS,
    ID,
    KNOWN,
    PORT,
    answering,
    calls_of,
    refused,
)


class TestTimeAndSize:
    """Answers that do not end."""

    @pytest.mark.parametrize(
        "begin",
        [
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-Long: ",
            b"HTTP/1.1 20",
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 100000\r\n\r\n",
        ],
        ids=["no length", "length", "chunk", "404", "header", "status", "redirect"],
    )
    def test_that_drip(self, tmp_path: Path, begin: bytes) -> None:
        """Each byte in time, and the whole never."""

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(begin)
            while not stopping.wait(0.05):
                connection.sendall(b" ")

        with RawServer(talk) as server:
            for call in calls_of(tmp_path, server.url, 1.0):
                began = time.monotonic()
                with pytest.raises(AnswerLost) as caught:
                    call()
                assert time.monotonic() - began < 2
                assert caught.value.code == Code.TRY_AGAIN
                assert "timed out" in caught.value.message

    @pytest.mark.parametrize(
        "begin",
        [
            b"HTTP/1.1 200 OK\r\n\r\n[",
            b"HTTP/1.1 500 Oh\r\n\r\n[",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n[",
        ],
        ids=["no length", "500", "length"],
    )
    def test_that_are_too_long(
        self, tmp_path: Path, begin: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:

        monkeypatch.setattr(transport, "LARGEST_ANSWER", 3 << 20)
        sent = [0]

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(begin)
            while not stopping.is_set():
                sent[0] += connection.send(b"1," * 50_000)

        with RawServer(talk) as server:
            for call in calls_of(tmp_path, server.url, 20):
                with pytest.raises(AnswerLost, match="more than 3 MiB"):
                    call()
        assert sent[0] < 40 << 20

    def test_a_small_answer_that_unpacks_to_a_large_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import gzip

        monkeypatch.setattr(transport, "LARGEST_ANSWER", 3 << 20)
        packed = gzip.compress(b" " * (50 << 20))

        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
            head += f"Content-Length: {len(packed)}"
            connection.sendall(f"{head}\r\n\r\n".encode() + packed)

        with RawServer(talk) as server:
            for call in calls_of(tmp_path, server.url, 20):
                with pytest.raises(AnswerLost, match="more than 3 MiB"):
                    call()


class TestRedirects:
    """Are not followed: whoever they lead to would get our token."""

    @pytest.mark.parametrize("status", [301, 302, 303, 305, 307, 308])
    def test_of_neutron(self, tmp_path: Path, status: int, waits: Waits) -> None:
        elsewhere: list[bytes] = []

        def listen(connection: socket.socket, stopping: Event) -> None:
            elsewhere.append(whole_request(connection))
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
            )

        with RawServer(listen) as other:
            to = other.url.replace("//", "//user:hunter2@") + "/there?token=abcdef#x"
            head = f"HTTP/1.1 {status} Over there\r\nConnection: close\r\n"
            head += f"Location: {to}\r\nContent-Length: 0\r\n\r\n"

            def talk(connection: socket.socket, stopping: Event) -> None:
                whole_request(connection)
                connection.sendall(head.encode())

            with RawServer(talk) as server:
                for call in calls_of(tmp_path, server.url, 20):
                    with pytest.raises(AnswerLost) as caught:
                        call()
                    said = str(caught.value)
                    assert f"redirect to {other.url}/there" in said
                    assert "hunter2" not in said
                    assert "abcdef" not in said
            assert elsewhere == []

    @pytest.mark.parametrize("status", [300, 304, 399])
    def test_that_are_none_are_no_success(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int
    ) -> None:
        for body in ("", "null", json.dumps({"port": PORT})):
            answering(fake, "" if status == 304 else body, status)
            for name in ("port", "delete_port", "remove_tag", "server", "detach"):
                refused(CALLS[name], neutron)

    @pytest.mark.parametrize("to", ["", "http://[::1", "/relative", "javascript:x", "\x7f\x01é"])
    def test_to_odd_places(self, tmp_path: Path, to: str, waits: Waits) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            head = "HTTP/1.1 302 Found\r\nConnection: close\r\n"
            head += f"Location: {to}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode("latin-1"))

        with RawServer(talk) as server:
            for call in calls_of(tmp_path, server.url, 20):
                with pytest.raises(AnswerLost, match="redirect"):
                    call()


IDS = ["../..", "..", ".", "", "a/b", "a?b", "a#b", "x\ny", "%2e%2e", "é", "a" * 300, "a b"]


class TestPaths:
    """What names an object is one segment of the path, or nothing is asked at all."""

    @pytest.mark.parametrize("odd", IDS)
    def test_an_id_that_is_none_is_not_asked_for(
        self, fake: FakeNeutron, neutron: Neutron, odd: str
    ) -> None:
        import dataclasses

        port, nova = dataclasses.replace(KNOWN, id=odd), Nova.beside(neutron)
        calls: list[Callable[[], object]] = [
            lambda: neutron.port(odd),
            lambda: neutron.set_fixed_ips(port, []),
            lambda: neutron.set_address_pairs(port, []),
            lambda: neutron.add_tags(odd, ["a"]),
            lambda: nova.server(odd),
            lambda: nova.interfaces(odd),
            lambda: nova.attach(odd, ID),
            lambda: nova.detach(odd, ID),
            lambda: nova.outcome(odd, "req-1"),
        ]
        for call in calls:
            with pytest.raises(CniError) as caught:
                call()
            assert caught.value.code == Code.NOT_FOUND
        neutron.delete_port(odd)  # there is none, so it is gone
        neutron.remove_tag(odd, "a")
        assert neutron.port_quota(odd) is None
        assert set(fake.calls) <= {"GET /extensions"}

    @pytest.mark.parametrize("tag", ["", ".", ".."])
    def test_a_tag_that_would_be_a_step(
        self, fake: FakeNeutron, neutron: Neutron, tag: str
    ) -> None:
        """`DELETE /ports/ID/tags/..` would be the port's own end."""
        with pytest.raises(CniError):
            neutron.remove_tag(ID, tag)
        with pytest.raises(CniError):
            Nova.beside(neutron).detach(ID, tag)
        assert fake.calls.total() == 0

"""The client's retries by kind, its deadlines, and what it makes of lost answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from neutron_cni.openstack import patience as module
from neutron_cni.openstack.client import Client
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    Forbidden,
    NotFound,
    Unauthorized,
    Unreachable,
)
from neutron_cni.openstack.patience import BUSY_TRIES, CONNECT_TRIES, LONGEST_WAIT
from neutron_cni.values import deadline
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes import FakeNeutron, Fault
from tests.fakes.faults import FOREVER, Drop
from tests.fakes.raw import RawServer, make_certificate, whole_request
from tests.support.descriptors import open_descriptors, require_closed_since
from tests.support.openstack_doubles import Waits, client_of, get, put

BUSY = [429, 500, 502, 503, 504]
MAYBE_DONE = [500, 502, 503, 504]
READ = "GET /ports"
CHANGE = "PUT /ports/{id}"


@pytest.fixture
def client(neutron: FakeNeutron, tmp_path: Path) -> Client:
    return client_of(tmp_path, neutron.url)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(module, "time", waits)
    return waits


@pytest.fixture
def port(neutron: FakeNeutron, client: Client) -> str:
    """Path of a port."""
    deadline = Deadline.after(60)
    network = client.change("POST", "/networks", "making", deadline, {"network": {}}).body[
        "network"
    ]
    body = {"port": {"network_id": network["id"], "name": "made"}}
    made = client.change("POST", "/ports", "making", deadline, body).body["port"]
    neutron.calls.clear()
    return f"/ports/{made['id']}"


def name_of(neutron: FakeNeutron, port: str) -> str:
    """The port's name in the cloud."""
    return str(neutron.cloud.ports[port.removeprefix("/ports/")]["name"])


class TestReads:
    """A read changes nothing: it is repeated whatever failed."""

    @pytest.mark.parametrize("status", BUSY)
    def test_repeated_on(
        self, neutron: FakeNeutron, client: Client, waits: Waits, status: int
    ) -> None:
        neutron.faults.add(Fault("GET", status=status, times=2))
        assert get(client) == {"ports": []}
        assert neutron.calls[READ] == 3
        assert len(waits) == 2

    @pytest.mark.parametrize("drop", Drop)
    def test_repeated_when_the_answer_is_lost(
        self, neutron: FakeNeutron, client: Client, waits: Waits, drop: Drop
    ) -> None:
        neutron.faults.add(Fault("GET", drop=drop, times=2))
        assert get(client) == {"ports": []}
        assert neutron.calls[READ] == 3

    def test_repeated_after_a_time_out(
        self, neutron: FakeNeutron, client: Client, monkeypatch: pytest.MonkeyPatch, waits: Waits
    ) -> None:
        waits.then = monkeypatch.undo
        monkeypatch.setattr(module, "CALL_TIMEOUT", 0.3)
        neutron.faults.add(Fault("GET", delay=3600))
        assert get(client) == {"ports": []}
        assert neutron.calls[READ] == 2

    def test_repeated_when_the_answer_is_not_json(
        self, neutron: FakeNeutron, client: Client, waits: Waits
    ) -> None:
        neutron.faults.add(Fault("GET", status=200, body="<html>"))
        assert get(client) == {"ports": []}

    @pytest.mark.parametrize("status", BUSY)
    def test_given_up_in_the_end(
        self, neutron: FakeNeutron, client: Client, waits: Waits, status: int
    ) -> None:
        neutron.faults.add(Fault("GET", status=status, times=FOREVER))
        with pytest.raises(CloudError) as caught:
            get(client)
        assert str(status) in caught.value.message
        assert "reading" in caught.value.message
        assert caught.value.code == Code.TRY_AGAIN
        assert neutron.calls[READ] == BUSY_TRIES

    @pytest.mark.parametrize(
        ("status", "kind"), [(401, Unauthorized), (403, Forbidden), (404, NotFound)]
    )
    def test_a_refusal_is_final(
        self, neutron: FakeNeutron, client: Client, status: int, kind: type[CloudError]
    ) -> None:
        neutron.faults.add(Fault("GET", status=status, times=FOREVER))
        with pytest.raises(kind):
            get(client)
        assert neutron.calls[READ] == 1

    def test_waits_grow_and_differ(
        self, neutron: FakeNeutron, client: Client, waits: Waits
    ) -> None:
        neutron.faults.add(Fault("GET", status=503, times=BUSY_TRIES - 1))
        get(client)
        assert waits[-1] > 2 * waits[0]
        assert all(0.2 <= wait <= 10 for wait in waits)
        first = list(waits)
        waits.clear()
        neutron.faults.add(Fault("GET", status=503, times=BUSY_TRIES - 1))
        get(client)
        assert list(waits) != first


class TestChanges:
    """A change that may have been made is never repeated."""

    @pytest.mark.parametrize("status", MAYBE_DONE)
    @pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
    def test_sent_once_when_neutron_fails(
        self, neutron: FakeNeutron, client: Client, port: str, method: str, status: int
    ) -> None:
        neutron.faults.add(Fault(method, status=status, times=FOREVER))
        with pytest.raises(AnswerLost) as caught:
            client.change(method, port, "changing", Deadline.after(60), {})
        assert str(status) in caught.value.message
        assert "req-" in caught.value.details
        assert neutron.calls.total() == 1

    def test_sent_once_when_dropped_before(
        self, neutron: FakeNeutron, client: Client, port: str
    ) -> None:
        neutron.faults.add(Fault("PUT", drop=Drop.BEFORE))
        with pytest.raises(AnswerLost):
            put(client, port)
        assert neutron.calls[CHANGE] == 1
        assert name_of(neutron, port) == "made"

    def test_sent_once_when_dropped_after(
        self, neutron: FakeNeutron, client: Client, port: str
    ) -> None:
        neutron.faults.add(Fault("PUT", drop=Drop.AFTER))
        with pytest.raises(AnswerLost):
            put(client, port)
        assert neutron.calls[CHANGE] == 1
        assert name_of(neutron, port) == "changed"

    def test_a_time_out_is_a_lost_answer_and_may_come_true_later(
        self,
        neutron: FakeNeutron,
        client: Client,
        port: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "CALL_TIMEOUT", 0.3)
        neutron.faults.add(Fault("PUT", delay=3600))
        with pytest.raises(AnswerLost):
            put(client, port)
        assert name_of(neutron, port) == "made"
        neutron.stopping.set()  # ends the delay
        end = time.monotonic() + 120
        while name_of(neutron, port) == "made" and time.monotonic() < end:
            time.sleep(0.02)
        assert name_of(neutron, port) == "changed"
        assert neutron.calls[CHANGE] == 1

    def test_a_good_status_without_json_is_a_lost_answer(
        self, neutron: FakeNeutron, client: Client, port: str
    ) -> None:
        neutron.faults.add(Fault("PUT", status=200, body="<html>login</html>"))
        with pytest.raises(AnswerLost):
            put(client, port)
        assert neutron.calls[CHANGE] == 1

    def test_sent_again_when_the_rate_is_limited(
        self, neutron: FakeNeutron, client: Client, port: str, waits: Waits
    ) -> None:
        neutron.faults.add(Fault("PUT", status=429, times=2))
        assert put(client, port)["port"]["name"] == "changed"
        assert neutron.calls[CHANGE] == 3
        assert len(waits) == 2

    def test_a_rate_limit_that_stays_is_no_lost_answer(
        self, neutron: FakeNeutron, client: Client, port: str, waits: Waits
    ) -> None:
        neutron.faults.add(Fault("PUT", status=429, times=FOREVER))
        with pytest.raises(CloudError) as caught:
            put(client, port)
        assert type(caught.value) is CloudError
        assert neutron.calls[CHANGE] == BUSY_TRIES

    def test_sent_again_when_the_connection_was_refused(
        self, neutron: FakeNeutron, client: Client, port: str, waits: Waits
    ) -> None:
        neutron.stop()
        waits.then = neutron.resume
        assert put(client, port)["port"]["name"] == "changed"
        assert neutron.calls[CHANGE] == 1
        assert len(waits) == 1

    def test_settings_of_clouds_yaml_do_not_repeat_it(
        self, neutron: FakeNeutron, port: str, tmp_path: Path
    ) -> None:
        more = ", network_connect_retries: 5, network_status_code_retries: 5, connect_retries: 5"
        client = client_of(tmp_path, neutron.url, more)
        neutron.faults.add(Fault("PUT", drop=Drop.AFTER), Fault("PUT", status=503, times=FOREVER))
        for sent in (1, 2):
            with pytest.raises(AnswerLost):
                put(client, port)
            assert neutron.calls[CHANGE] == sent


class TestRetryAfter:
    """`Retry-After` of 429 and 503."""

    @pytest.mark.parametrize(("said", "least"), [("3", 3.0), ("0.5", 0.5), ("0", 0.0)])
    def test_is_waited_out(
        self, neutron: FakeNeutron, client: Client, waits: Waits, said: str, least: float
    ) -> None:
        neutron.faults.add(Fault("GET", status=429, retry_after=said))
        get(client)
        assert least < waits[0] < least + 2

    @pytest.mark.parametrize(
        "said", ["Wed, 21 Oct 2015 07:28:00 GMT", "-5", "soon", "nan", "1e9", "inf", ""]
    )
    def test_of_another_form_does_no_harm(
        self, neutron: FakeNeutron, client: Client, waits: Waits, said: str
    ) -> None:
        neutron.faults.add(Fault("GET", status=503, retry_after=said))
        get(client)
        assert 0 < waits[0] < LONGEST_WAIT + 2

    def test_longer_than_the_deadline_is_not_waited_for(
        self, neutron: FakeNeutron, client: Client, waits: Waits
    ) -> None:
        neutron.faults.add(Fault("GET", status=429, retry_after="9", times=FOREVER))
        with pytest.raises(CloudError) as caught:
            get(client, seconds=3)
        assert "429" in caught.value.message
        assert waits == []


class TestDeadlines:
    """A request's deadline bounds all that is done for it."""

    def test_nothing_is_sent_after_it(
        self, neutron: FakeNeutron, client: Client, port: str
    ) -> None:
        calls: list[Callable[[], object]] = [
            lambda: get(client, seconds=0),
            lambda: put(client, port, seconds=0),
        ]
        for call in calls:
            with pytest.raises(CniError) as caught:
                call()
            assert caught.value.code == Code.TRY_AGAIN
        assert neutron.calls.total() == 0

    @pytest.mark.parametrize("what", ["read", "change"])
    def test_a_server_that_says_nothing_does_not_hold_us(
        self, neutron: FakeNeutron, client: Client, port: str, what: str
    ) -> None:
        # Shorter than CALL_TIMEOUT: who waited for the answer would get it.
        neutron.faults.add(Fault(delay=20, times=FOREVER))
        with pytest.raises(CniError) as caught:
            get(client, seconds=0.7) if what == "read" else put(client, port, seconds=0.7)
        assert caught.value.code == Code.TRY_AGAIN

    def test_retries_end_with_it_and_say_why(
        self, neutron: FakeNeutron, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a clock that goes on in the client's pauses only."""
        neutron.faults.add(Fault("GET", status=503, times=FOREVER))
        clock = Waits()
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: sum(clock)))
        # On a busy machine the last try may run into the deadline itself.
        with pytest.raises(AnswerLost, match=r"503|timed out"):
            get(client, seconds=5.0)
        assert sum(clock) < 5.0
        assert 1 < neutron.calls[READ] < BUSY_TRIES


class TestConnections:
    """Never sent, or sent and lost: told apart by what lies beneath keystoneauth's errors."""

    def test_nothing_listens(
        self, neutron: FakeNeutron, client: Client, port: str, waits: Waits
    ) -> None:
        neutron.stop()
        calls: list[Callable[[], object]] = [lambda: get(client), lambda: put(client, port)]
        for call in calls:
            waits.clear()
            with pytest.raises(Unreachable) as caught:
                call()
            assert neutron.url.removeprefix("http://").partition(":")[2] in caught.value.message
            assert len(waits) == CONNECT_TRIES - 1

    def test_none_is_left_of_a_closed_client_whoever_keeps_its_errors(
        self, neutron: FakeNeutron, client: Client
    ) -> None:
        before = open_descriptors()
        with pytest.raises(NotFound) as kept:
            get(client, "/ports/x")
        assert open_descriptors() - before
        client.close()
        require_closed_since(before)
        del kept

    def test_a_closed_client_connects_anew(self, client: Client) -> None:
        client.close()
        assert get(client) == {"ports": []}

    def test_it_comes_back_for_a_read(
        self, neutron: FakeNeutron, client: Client, waits: Waits
    ) -> None:
        neutron.stop()
        waits.then = neutron.resume
        assert get(client) == {"ports": []}

    def test_a_name_that_does_not_resolve(self, tmp_path: Path, waits: Waits) -> None:
        client = client_of(tmp_path, "http://neutron.invalid:9696")
        with pytest.raises(Unreachable):
            put(client, "/ports/x")

    def test_a_resolver_that_says_nothing_does_not_hold_us(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The system's waits half a minute for name servers that are away, whatever we say."""
        over = Event()

        def say_nothing(*words: object, **more: object) -> list[Any]:
            over.wait()
            return []

        monkeypatch.setattr(socket, "getaddrinfo", say_nothing)
        client = client_of(tmp_path, "http://neutron.invalid:9696")
        try:
            with pytest.raises(Unreachable, match="name could not be looked up in time"):
                put(client, "/ports/x", seconds=0.3)
        finally:
            over.set()

    def test_of_a_names_addresses_each_is_tried(
        self, neutron: FakeNeutron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        look_up = socket.getaddrinfo

        def both(name: str, port: int, *words: Any, **more: Any) -> list[Any]:
            if name != "neutron.invalid":
                return look_up(name, port, *words, **more)
            # Linux has all of 127/8: nothing listens at the first.
            return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        port = neutron.url.rpartition(":")[2]
        assert get(client_of(tmp_path, f"http://neutron.invalid:{port}")) == {"ports": []}

    def test_a_dead_address_takes_its_share_of_the_time_only(
        self, neutron: FakeNeutron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as IPv6 that a router swallows, or one of three controllers that is off."""
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        port = int(neutron.url.rpartition(":")[2])
        addresses = [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: addresses)
        with ExitStack() as stack:
            # A listener whose queue is full: the kernel drops what comes, as a dead host would.
            dead = stack.enter_context(socket.socket())
            dead.bind(("127.0.0.2", port))
            dead.listen(0)
            for _ in range(4):
                filling = stack.enter_context(socket.socket())
                filling.setblocking(False)
                filling.connect_ex(("127.0.0.2", port))
            asked = client_of(tmp_path, f"http://neutron.invalid:{port}")
            assert get(asked, seconds=30) == {"ports": []}

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\x00\x01\x02 nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        ],
        ids=["none", "no http", "short", "broken chunk", "broken gzip"],
    )
    def test_a_broken_answer_to_a_change_is_lost(self, tmp_path: Path, answer: bytes) -> None:
        def talk(connection: socket.socket, stopping: Event) -> None:
            whole_request(connection)
            connection.sendall(answer)

        with RawServer(talk) as server, pytest.raises(AnswerLost):
            put(client_of(tmp_path, server.url), "/ports/x")
        assert server.connections == 1

    def test_a_connection_closed_before_the_request_counts_as_lost(self, tmp_path: Path) -> None:
        """Whether the server read it can't be known, so it is not sent again."""
        with RawServer(lambda connection, stopping: None) as server, pytest.raises(AnswerLost):
            put(client_of(tmp_path, server.url), "/ports/x")

    def test_a_certificate_that_we_do_not_trust_means_never_sent(
        self, tmp_path: Path, waits: Waits
    ) -> None:
        seen = []

        def talk(connection: socket.socket, stopping: Event) -> None:
            seen.append(whole_request(connection))

        server = RawServer(talk, tls=make_certificate(tmp_path))
        with server, pytest.raises(Unreachable, match="certificate"):
            put(client_of(tmp_path, server.url), "/ports/x")
        assert server.connections == CONNECT_TRIES
        assert not any(seen)

    @pytest.mark.parametrize("garbage", [b"", b"no TLS at all"], ids=["cut", "garbage"])
    def test_tls_that_breaks_after_the_request_is_a_lost_answer(
        self, tmp_path: Path, garbage: bytes
    ) -> None:
        certificate = make_certificate(tmp_path)
        seen = []

        def talk(connection: socket.socket, stopping: Event) -> None:
            seen.append(whole_request(connection))
            with socket.socket(fileno=os.dup(connection.fileno())) as beneath:
                beneath.sendall(garbage)
                beneath.shutdown(socket.SHUT_RDWR)  # without TLS's goodbye

        server = RawServer(talk, tls=certificate)
        with server, pytest.raises(AnswerLost):
            put(client_of(tmp_path, server.url, f", cacert: {certificate}"), "/ports/x")
        assert len(seen) == 1

    def test_users_and_passwords_in_urls_are_not_repeated(
        self, tmp_path: Path, waits: Waits
    ) -> None:
        client = client_of(tmp_path, "http://user:hunter2@127.0.0.1:1")
        with pytest.raises(Unreachable) as caught:
            get(client)
        assert "hunter2" not in str(caught.value)

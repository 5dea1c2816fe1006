"""Whatever a cloud answers, a call ends in time with an error that says what was answered."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from neutron_cni.openstack import patience, transport
from neutron_cni.openstack.errors import AnswerLost, CloudError, Unauthorized, Unreachable
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import AddressPair, FixedIp, Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.fakes import FakeNeutron, Fault
from tests.fakes.faults import FOREVER
from tests.fakes.raw import RawServer, whole_request
from tests.support.openstack_doubles import Waits, no_auth

ID = "00000000-0000-4000-8000-000000000001"
NET = "00000000-0000-4000-8000-000000000002"
SUBNET = "00000000-0000-4000-8000-000000000003"
PORT: dict[str, Any] = {
    "id": ID,
    "network_id": NET,
    "mac_address": "fa:16:3e:00:00:01",
    "revision_number": 1,
    "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.0.0.5"}],
    "allowed_address_pairs": [],
    "tags": [],
}
KNOWN = Port.from_json(PORT)
ADDRESS = ip_address("10.0.0.6")

READS: dict[str, Callable[[Neutron], object]] = {
    "port": lambda n: n.port(ID),
    "ports": lambda n: n.ports(),
    "addresses_in_use": lambda n: n.addresses_in_use(NET),
    "network": lambda n: n.network("net"),
    "subnet": lambda n: n.subnet("sub"),
    "subnets": lambda n: n.subnets(NET),
    "security_group_id": lambda n: n.security_group_id("group"),
    "port_quota": lambda n: n.port_quota("5" * 32),
    "project_id": lambda n: n.project_id(),
}
CHANGES: dict[str, Callable[[Neutron], object]] = {
    "create_port": lambda n: n.create_port({"network_id": NET}, []),
    "set_fixed_ips": lambda n: n.set_fixed_ips(KNOWN, [FixedIp(SUBNET, ADDRESS)]),
    "set_address_pairs": lambda n: n.set_address_pairs(KNOWN, [AddressPair("10.0.0.6")]),
    "delete_port": lambda n: n.delete_port(ID),
    "add_tags": lambda n: n.add_tags(ID, ["a"]),
    "remove_tag": lambda n: n.remove_tag(ID, "a"),
}
CALLS = READS | CHANGES

SHAPES = {
    "maintenance": {"error": "maintenance"},
    "empty object": {},
    "list": [],
    "list of numbers": [1],
    "string": "hello",
    "number": 5,
    "true": True,
    "members null": dict.fromkeys(
        ("port", "ports", "networks", "subnets", "security_groups", "quota", "project"), None
    ),
    "members lists": {
        "port": [],
        "ports": {},
        "networks": [[]],
        "subnets": [1],
        "security_groups": "x",
        "quota": [],
        "project": [],
    },
    "items empty": {
        "port": {},
        "ports": [{}],
        "networks": [{}],
        "subnets": [{}],
        "security_groups": [{}],
        "quota": {},
        "project": {"project_id": []},
    },
}


@pytest.fixture
def fake() -> Iterator[FakeNeutron]:
    with FakeNeutron() as fake:
        yield fake


@pytest.fixture
def neutron(fake: FakeNeutron, tmp_path: Path) -> Neutron:
    return Neutron.connect("fake", str(fake.write_clouds_yaml(tmp_path)), Deadline.after(60))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(patience, "time", waits)
    return waits


def answering(fake: FakeNeutron, body: object, status: int = 200) -> None:
    """From now on whatever is asked is answered so, but for the extensions."""
    fake.faults.clear()
    text = body if isinstance(body, str) else json.dumps(body)
    fake.faults.add(Fault(path="^(?!/extensions)", status=status, body=text, times=FOREVER))


def refused(call: Callable[[Neutron], object], neutron: Neutron) -> CloudError:
    with pytest.raises(CniError) as caught:
        call(neutron)
    assert caught.value.code == Code.TRY_AGAIN
    assert isinstance(caught.value, CloudError)
    return caught.value


def code_of(call: Callable[[], object]) -> int:
    """The error's code, 0 for none; whatever is no CniError is raised."""
    try:
        call()
    except CniError as error:
        return error.code
    return 0


class TestShapes:
    """2xx with JSON of another shape."""

    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_another_shape(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str, shape: str
    ) -> None:
        answering(fake, json.dumps(SHAPES[shape]))
        error = refused(CALLS[name], neutron)
        assert isinstance(error, AnswerLost)
        assert "not as Neutron answers" in error.message
        assert "endpoint" in error.details

    @pytest.mark.parametrize("name", sorted(CALLS.keys() - {"add_tags"}))
    def test_null(self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str) -> None:
        """Which is Neutron's own answer to what has no other: a tag, or a deletion."""
        answering(fake, "null")
        if name in ("delete_port", "remove_tag"):
            CALLS[name](neutron)
        else:
            refused(CALLS[name], neutron)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("id", None),
            ("id", 5),
            ("id", "../.."),
            ("id", "a/b"),
            ("id", ""),
            ("network_id", []),
            ("fixed_ips", None),
            ("fixed_ips", {}),
            ("fixed_ips", [5]),
            ("fixed_ips", [{}]),
            ("fixed_ips", [{"subnet_id": SUBNET, "ip_address": "10.0.0.300"}]),
            ("fixed_ips", [{"subnet_id": ["x"], "ip_address": "10.0.0.3"}]),
            ("fixed_ips", [{"subnet_id": SUBNET, "ip_address": 5}]),
            ("allowed_address_pairs", [{"ip_address": "x"}]),
            ("allowed_address_pairs", [{"ip_address": "10.0.0.1", "mac_address": 5}]),
            ("tags", [5]),
            ("tags", "abc"),
            ("tags", {"a": 1}),
            ("mac_address", {}),
            ("revision_number", []),
            ("revision_number", 1.5),
            ("revision_number", "one"),
            ("device_id", 5),
            ("name", ["x"]),
            ("name", "\ud800"),
            ("created_at", "yesterday"),
            ("created_at", 5),
        ],
    )
    def test_a_port_with_an_odd_field(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, key: str, value: object
    ) -> None:
        answering(fake, {"port": PORT | {key: value}, "ports": [PORT | {key: value}]})
        for call in (READS["port"], READS["ports"], CHANGES["set_fixed_ips"]):
            assert isinstance(refused(call, neutron), AnswerLost)

    @pytest.mark.parametrize("key", ["id", "network_id", "fixed_ips"])
    def test_a_port_without_a_field(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, key: str
    ) -> None:
        odd = {name: value for name, value in PORT.items() if name != key}
        answering(fake, {"port": odd, "ports": [odd]})
        for call in (READS["port"], READS["ports"], CHANGES["set_address_pairs"]):
            assert key in refused(call, neutron).message

    def test_what_an_extension_would_add_may_be_missing(
        self, fake: FakeNeutron, neutron: Neutron
    ) -> None:
        few = {key: PORT[key] for key in ("id", "network_id", "fixed_ips")}
        answering(fake, {"port": few})
        assert neutron.port(ID).addresses == {ip_address("10.0.0.5")}

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_any_json(self, fake: FakeNeutron, neutron: Neutron, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(CALLS)))
        answering(fake, json.dumps(data.draw(JSON)))
        code = code_of(lambda: CALLS[name](neutron.within(Deadline.after(60))))
        assert code in (0, Code.TRY_AGAIN, Code.NOT_FOUND, Code.INVALID_CONFIG)

    @pytest.mark.parametrize(
        "body", ["[" * 100_000, '{"port": ' * 50_000, "9" * 10_000, '"\\ud800"', "NaN", "\x00"]
    )
    def test_json_that_is_hard_to_read(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, body: str
    ) -> None:
        answering(fake, body)
        for call in (READS["port"], CHANGES["set_fixed_ips"]):
            refused(call, neutron)

    def test_pages_without_an_end(self, fake: FakeNeutron, neutron: Neutron) -> None:
        link = {"rel": "next", "href": f"http://x/v2.0/ports?marker={ID}"}
        answering(fake, {"ports": [PORT], "ports_links": [link]})
        began = time.monotonic()
        refused(READS["ports"], neutron)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        "links", [5, [5], [{"rel": "next"}], [{"rel": "next", "href": "http://[::1"}], [{}]]
    )
    def test_odd_links_of_pages(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, links: object
    ) -> None:
        answering(fake, {"ports": [PORT], "ports_links": links})
        assert code_of(neutron.ports) in (0, Code.TRY_AGAIN)

    @pytest.mark.parametrize("name", CALLS)
    def test_html(self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str) -> None:
        answering(fake, "<html><head><title>Please log in</title></head></html>")
        error = refused(CALLS[name], neutron)
        assert "HTML" in error.message
        assert "Please log in" in error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("10.0.0.5"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*PORT, "port", "ports", "networks", "subnets", "quota", "cidr"]), inner
        )
    ),
    max_leaves=8,
)


def calls_of(folder: Path, url: str, seconds: float) -> list[Callable[[], object]]:
    """A read and a change of the cloud at that address, within so many seconds."""
    file = no_auth(folder, url)
    return [
        lambda: Neutron.connect("fake", file, Deadline.after(seconds)).port(ID),
        lambda: Neutron.connect("fake", file, Deadline.after(seconds)).delete_port(ID),
    ]


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
        from neutron_cni.openstack import transport

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

        from neutron_cni.openstack import transport

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
            for name in ("port", "delete_port", "remove_tag"):
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


GATEWAYS = {
    "text": "default backend - 404",
    "html": "<html><body><h1>Not here</h1></body></html>",
    "json": '{"message": "no Route matched with those values"}',
    "json error": '{"error": "not found"}',
    "json list": "[]",
    "empty": "",
    "another service's": '{"itemNotFound": {"code": 404, "message": "x"}}',
}


class TestGateways:
    """What is refused, or not found, by somebody in front of Neutron."""

    @pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS)
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 418])
    def test_is_no_refusal_of_neutrons(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int, body: str
    ) -> None:
        answering(fake, body, status)
        for name in ("port", "ports", "port_quota", *CHANGES):
            error = refused(CALLS[name], neutron)
            assert isinstance(error, AnswerLost), name
            assert str(status) in error.message

    @pytest.mark.parametrize("status", [404, 408])
    def test_a_read_is_repeated(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, status: int
    ) -> None:
        body = GATEWAYS["text"]
        fake.faults.add(Fault("GET", "/ports", status=status, body=body, times=2))
        assert neutron.ports() == []
        assert len(waits) == 2

    @pytest.mark.parametrize("status", [404, 408])
    @pytest.mark.parametrize("name", ["create_port", "set_fixed_ips", "delete_port"])
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


IDS = ["../..", "..", ".", "", "a/b", "a?b", "a#b", "x\ny", "%2e%2e", "é", "a" * 300, "a b"]


class TestPaths:
    """What names an object is one segment of the path, or nothing is asked at all."""

    @pytest.mark.parametrize("odd", IDS)
    def test_an_id_that_is_none_is_not_asked_for(
        self, fake: FakeNeutron, neutron: Neutron, odd: str
    ) -> None:
        import dataclasses

        port = dataclasses.replace(KNOWN, id=odd)
        calls: list[Callable[[], object]] = [
            lambda: neutron.port(odd),
            lambda: neutron.set_fixed_ips(port, []),
            lambda: neutron.set_address_pairs(port, []),
            lambda: neutron.add_tags(odd, ["a"]),
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
        assert fake.calls.total() == 0


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

"""No secret of a clouds.yaml comes out: not in errors, traces, outputs, whatever fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from neutron_cni.hosts.trace import record
from tests.fakes import FakeKeystone, FakeNeutron
from tests.fakes.raw import RawServer, make_certificate
from tests.support.openstack_doubles import clouds_yaml

CANARY = "cAnArY"
"""In every secret, and between the characters at which a URL may be cut."""
SECRET = f"{CANARY}1/{CANARY}2@{CANARY}3:{CANARY}4 {CANARY}5?{CANARY}6#{CANARY}7%{CANARY}8\"'\\é"
LINES = f"{CANARY}1\n{CANARY}2"

KINDS: dict[str, dict[str, Any]] = {
    "password": {"username": "u", "password": SECRET, "project_name": "p"},
    "v3password": {"username": "u", "password": SECRET, "project_name": "p"},
    "token": {"token": SECRET, "project_name": "p"},
    "v3token": {"token": LINES, "project_name": "p"},
    "v3applicationcredential": {
        "application_credential_id": "i",
        "application_credential_secret": SECRET,
    },
    "none": {},
    "admin_token": {"token": SECRET},
    "http_basic": {"username": "u", "password": SECRET},
    "v3totp": {"username": "u", "passcode": SECRET, "project_name": "p"},
    "nosuch": {"password": SECRET},
    "v3oidcpassword": {
        "identity_provider": "idp",
        "protocol": "oidc",
        "client_id": "c",
        "client_secret": SECRET,
        "username": "u",
        "password": SECRET,
        "access_token_endpoint": "{url}",
    },
}
DOMAINS = {"user_domain_name": "Default", "project_domain_name": "Default"}

PROGRAM = """
import os, sys
from neutron_cni.light import import_lightly
import_lightly()
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from neutron_cni.hosts.trace import record
import traceback
def call(ask):
    try:
        print(ask())
    except Exception as error:
        notes = []
        print(error, getattr(error, "details", ""))
        print(record(error, b'{"ipam": {"stateDir": "%s"}}' % sys.argv[2].encode(), notes), notes)
def port():
    neutron = Neutron.connect("c", sys.argv[1] or None, Deadline.after(1.5))
    return neutron.project_id(), neutron.port("00000000-0000-4000-8000-000000000001")
def change():
    neutron = Neutron.connect("c", sys.argv[1] or None, Deadline.after(1.5))
    return neutron.delete_port("00000000-0000-4000-8000-000000000001")
call(port)
call(change)
"""


def shown(file: str, folder: Path, **environ: str) -> str:
    """All that a process shows which reads and changes a port: outputs, and its log of traces."""
    state = folder / "state"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, file, str(state)],
        env=clean | {"PYTHONWARNINGS": "default"} | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    log = state / "plugin.log"
    return done.stdout + done.stderr + (log.read_text() if log.exists() else "")


def entry(kind: str, url: str, **more: Any) -> dict[str, Any]:
    auth = {
        key: value.format(url=url) if key.endswith("endpoint") else value
        for key, value in KINDS[kind].items()
    }
    auth |= DOMAINS if kind not in ("none", "admin_token", "http_basic") else {}
    auth |= {"endpoint": url} if kind in ("none", "admin_token", "http_basic") else {}
    if kind not in ("none", "admin_token", "http_basic"):
        auth["auth_url"] = f"{url}/v3"
    return {"auth_type": kind, "auth": auth} | more


@contextmanager
def answering(status: int, body: bytes, folder: Path, tls: bool = False) -> Iterator[str]:
    """A server that answers so, with all that it was sent after it: a proxy that complains."""

    def talk(connection: socket.socket, stopping: Event) -> None:
        got = connection.recv(65536)
        page = body or b"<html>" + got + b"</html>"
        head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {len(page)}"
        connection.sendall(f"{head}\r\nX-Subject-Token: {CANARY}tok\r\n\r\n".encode() + page)

    with RawServer(talk, tls=make_certificate(folder) if tls else None) as server:
        yield server.url


def with_password(url: str, password: str) -> str:
    return url.replace("//", f"//user:{password}@", 1)


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where each kind of failure is to be had."""
    folder = tmp_path_factory.mktemp("servers")
    kinds = {
        "401": answering(401, b"", folder),
        "429": answering(429, b"", folder),
        "500": answering(500, b"", folder),
        "200": answering(200, b"", folder),
        "JSON": answering(200, json.dumps({CANARY: CANARY}).encode(), folder),
        "TLS": answering(200, b"", folder, tls=True),
    }
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {"refused": "http://127.0.0.1:1"} | {
            name: stack.enter_context(server) for name, server in kinds.items()
        }


class TestEveryKind:
    """Each auth_type with each failure."""

    @pytest.mark.parametrize("failure", ["refused", "TLS", "401", "429", "500", "200"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_with_every_failure(
        self, tmp_path: Path, echoing: dict[str, str], kind: str, failure: str
    ) -> None:
        cloud = entry(
            kind, echoing[failure], odd_field=SECRET, odd={"deep": [SECRET, {"x": LINES}]}
        )
        said = shown(clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}})), tmp_path)
        assert "port" in said or "cloud c" in said
        assert CANARY not in said

    @pytest.mark.parametrize("failure", ["refused", "401", "500", "JSON"])
    @pytest.mark.parametrize("kind", ["password", "v3applicationcredential", "none"])
    @pytest.mark.parametrize("password", [f"{CANARY}9", f"{CANARY}1/{CANARY}2", f"{CANARY}%40x"])
    def test_with_a_password_in_the_url(
        self,
        tmp_path: Path,
        echoing: dict[str, str],
        kind: str,
        failure: str,
        password: str,
    ) -> None:
        cloud = entry(kind, with_password(echoing[failure], password))
        said = shown(clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}})), tmp_path)
        assert CANARY not in said.replace(f"{CANARY}tok", "")

    @pytest.mark.parametrize(
        "more",
        [
            {"cacert": f"/etc/{CANARY}/ca.pem"},
            {"cert": f"/etc/{CANARY}/cert.pem", "key": f"/etc/{CANARY}/key.pem"},
            {"verify": SECRET},
            {"region_name": 5, "regions": [SECRET]},
            {"profile": f"http://user:{CANARY}@127.0.0.1:1"},
            {"profile": f"http://user:{CANARY}1/{CANARY}2@127.0.0.1:1"},
            {"api_timeout": SECRET},
            {"network_endpoint_override": f"http://user:{CANARY}@127.0.0.1:1/?a={CANARY}"},
            {"network_endpoint_override": f"http://127.0.0.1:1/#{CANARY}"},
            {"identity_api_version": LINES, "passcode": SECRET},
            {"interface": {"a": CANARY}},
            {"secgroup_source": SECRET, "networks": [{"name": "x", "password": SECRET}]},
        ],
        ids=lambda more: "+".join(more),
    )
    @pytest.mark.parametrize("failure", ["TLS", "refused"])
    def test_with_odd_options(
        self, tmp_path: Path, echoing: dict[str, str], more: dict[str, Any], failure: str
    ) -> None:
        cloud = entry("v3password", echoing[failure], **more)
        said = shown(clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}})), tmp_path)
        assert CANARY not in said

    @pytest.mark.parametrize(
        "text",
        [
            f"clouds: {{c: {{auth: {CANARY}x}}}}",
            f"clouds: {{c: [{CANARY}x]}}",
            f"clouds: {{c: {CANARY}x}}",
            f"clouds: {{c: {{auth: {{password {CANARY}x: }}}}}}",
            f"clouds: {{c: {{auth: {{password: !{CANARY}x y}}}}}}",
            f"clouds: {{c: {{auth: {{password: '{CANARY}}}}}}}",
            f"clouds: {{c: {{auth: {{auth_url: 'http://[{CANARY}x', password: {CANARY}x}}}}}}",
            f"clouds: {{c: {{auth: {{auth_url: '{CANARY}x:{CANARY}y@host', password: x}}}}}}",
            f"clouds: {{c: {{auth_type: {{{CANARY}x: y}}, auth: {{password: x}}}}}}",
            f"clouds: {{c: {{cloud: nosuch, auth: {{token: {CANARY}x, auth_url: 5}}}}}}",
        ],
    )
    def test_of_a_malformed_file(self, tmp_path: Path, text: str) -> None:
        assert CANARY not in shown(clouds_yaml(tmp_path, text), tmp_path)

    def test_of_the_environment_and_secure_yaml(
        self, tmp_path: Path, echoing: dict[str, str]
    ) -> None:
        clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": entry("none", echoing["401"])}}))
        secure = {"clouds": {"c": entry("v3password", with_password(echoing["401"], CANARY))}}
        secure["clouds"]["c"]["auth"]["password"] = SECRET
        (tmp_path / "secure.yaml").write_text(yaml.safe_dump(secure))
        said = shown(
            "",
            tmp_path,
            OS_CLIENT_CONFIG_FILE=str(tmp_path / "clouds.yaml"),
            OS_CLIENT_SECURE_FILE=str(tmp_path / "secure.yaml"),
            OS_PASSWORD=SECRET,
            OS_AUTH_URL=with_password(echoing["500"], f"{CANARY}x"),
        )
        assert "port" in said
        assert CANARY not in said

    @pytest.mark.parametrize(
        "proxy", ["http://user:{}@127.0.0.1:1", "socks5://user:{}@127.0.0.1:1"]
    )
    def test_of_a_proxy(self, tmp_path: Path, proxy: str) -> None:
        cloud = entry("v3password", "http://192.0.2.1")
        file = clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}}))
        said = shown(file, tmp_path, http_proxy=proxy.format(f"{CANARY}x"), no_proxy="")
        assert "proxy" in said
        assert CANARY not in said


class TestTokens:
    """What Keystone gave us."""

    def test_a_gateway_that_repeats_our_headers(self, tmp_path: Path) -> None:
        with answering(404, b"", tmp_path) as url, FakeKeystone(url) as keystone:
            keystone.token = f"{CANARY}0123456789"
            cloud = entry("v3applicationcredential", keystone.url)
            cloud["auth"]["application_credential_secret"] = "a-valid-secret"
            file = clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}}))
            said = shown(file, tmp_path)
        assert "404" in said
        assert CANARY not in said


def test_a_trace_holds_no_secret(tmp_path: Path) -> None:
    """Of an unexpected error, with what lies beneath it."""
    from neutron_cni.openstack.client import Client

    cloud = entry("v3password", "http://127.0.0.1:1")
    Client.from_clouds_yaml("c", clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}})))
    unexpected = KeyError(SECRET)
    unexpected.__cause__ = ValueError(f"can't read {SECRET!r} and {SECRET}")
    assert CANARY in "".join(traceback.format_exception(unexpected))
    stdin = json.dumps({"ipam": {"stateDir": str(tmp_path)}}).encode()
    said = record(unexpected, stdin, [])
    log = (tmp_path / "plugin.log").read_text()
    assert "can't read" in log
    assert CANARY not in log + "".join(said)


def test_words_of_everyday_stay(tmp_path: Path) -> None:
    """Names, numbers and addresses of the entry are no secrets: an operator needs them."""
    with FakeNeutron() as neutron:
        cloud = entry("none", neutron.url, region_name="north", odd=5, retries="2", on=True)
        file = clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}}))
        said = shown(file, tmp_path)
    assert "Port 00000000-0000-4000-8000-000000000001 could not be found" in said

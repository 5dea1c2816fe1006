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
from tests.fakes.raw import RawServer, make_certificate, whole_request
from tests.support.openstack_doubles import client_from, clouds_yaml

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
    "admin_token/in two lines": {"token": LINES},
    "admin_token/of other letters": {"token": f"{CANARY}\u20ac{CANARY}"},
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
        "access_token_endpoint": "",
    },
}

PROGRAM = """
import os, sys, time
from neutron_cni.light import import_lightly
import_lightly()
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from neutron_cni.hosts.trace import record

def call(state, ask):
    try:
        print(ask())
    except Exception as error:
        notes = []
        print(error, getattr(error, "details", ""))
        print(record(error, b'{"ipam": {"stateDir": "%s"}}' % state.encode(), notes), notes)

def both(file, state):
    def connected():
        return Neutron.connect("c", file or None, Deadline.after(1.5))
    def read():
        neutron = connected()
        return neutron.project_id(), neutron.port("00000000-0000-4000-8000-000000000001")
    call(state, read)
    call(state, lambda: connected().delete_port("00000000-0000-4000-8000-000000000001"))

# One process for each file, as what is a secret of one would be concealed in another.
children = []
for file, output in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if child:
        children.append(child)
        continue
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    both(file, output + ".state")
    sys.stdout.flush()
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""


def shown(files: list[str], folder: Path, **environ: str) -> list[str]:
    """All that processes show which read and change a port by each file: outputs, and traces."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    outputs = [folder / f"output{number}" for number in range(len(files))]
    words = [str(word) for pair in zip(files, outputs, strict=True) for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env=clean | {"PYTHONWARNINGS": "default"} | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = []
    for output in outputs:
        log = Path(f"{output}.state", "plugin.log")
        said = output.read_text() + (log.read_text() if log.exists() else "")
        assert "port" in said or "credentials" in said or "cloud c" in said
        found.append(said)
    return found


def files_of(folder: Path, clouds: list[dict[str, Any]]) -> list[str]:
    """A clouds.yaml for each."""
    return texts_of(folder, [yaml.safe_dump({"clouds": {"c": cloud}}) for cloud in clouds])


def texts_of(folder: Path, texts: list[str]) -> list[str]:
    files = []
    for number, text in enumerate(texts):
        (folder / str(number)).mkdir()
        files.append(clouds_yaml(folder / str(number), text))
    return files


def entry(name: str, url: str, **more: Any) -> dict[str, Any]:
    """A cloud of that kind at `url`."""
    kind = name.partition("/")[0]
    auth = dict(KINDS[name])
    if "access_token_endpoint" in auth:
        auth["access_token_endpoint"] = url
    if kind in ("none", "admin_token", "http_basic"):
        auth["endpoint"] = url
    else:
        auth["auth_url"] = f"{url}/v3"
        if "project_name" in auth:
            auth["project_domain_name"] = "Default"
        if "username" in auth and "identity_provider" not in auth:
            auth["user_domain_name"] = "Default"
    return {"auth_type": kind, "auth": auth} | more


@contextmanager
def answering(status: int, body: bytes, folder: Path, tls: bool = False) -> Iterator[str]:
    """A server that answers so, with all that it was sent after it: a proxy that complains."""

    def talk(connection: socket.socket, stopping: Event) -> None:
        got = whole_request(connection)
        page = body or b"<html>" + got + b"</html>"
        head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: text/html\r\n"
        head += f"Content-Length: {len(page)}"
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


ODD: list[dict[str, Any]] = [
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
]
MALFORMED = [
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
]


class TestEveryKind:
    """Each auth_type with each failure."""

    @pytest.mark.parametrize("failure", ["refused", "TLS", "401", "429", "500", "200"])
    def test_with_every_failure(
        self, tmp_path: Path, echoing: dict[str, str], failure: str
    ) -> None:
        more = {"odd_field": SECRET, "odd": {"deep": [SECRET, {"x": LINES}]}}
        clouds = [entry(kind, echoing[failure], **more) for kind in KINDS]
        said = shown(files_of(tmp_path, clouds), tmp_path)
        assert [kind for kind, text in zip(KINDS, said, strict=True) if CANARY in text] == []

    @pytest.mark.parametrize("failure", ["refused", "401", "500", "JSON"])
    def test_with_a_password_in_the_url(
        self, tmp_path: Path, echoing: dict[str, str], failure: str
    ) -> None:
        clouds = [
            entry(kind, with_password(echoing[failure], password))
            for kind in ("password", "v3applicationcredential", "none")
            for password in (f"{CANARY}9", f"{CANARY}1/{CANARY}2", f"{CANARY}%40x")
        ]
        for said in shown(files_of(tmp_path, clouds), tmp_path):
            assert CANARY not in said

    @pytest.mark.parametrize("failure", ["TLS", "refused"])
    def test_with_odd_options(self, tmp_path: Path, echoing: dict[str, str], failure: str) -> None:
        clouds = [entry("v3password", echoing[failure], **more) for more in ODD]
        said = shown(files_of(tmp_path, clouds), tmp_path)
        wrong = [more for more, text in zip(ODD, said, strict=True) if CANARY in text]
        assert wrong == []

    def test_of_a_malformed_file(self, tmp_path: Path) -> None:
        said = shown(texts_of(tmp_path, MALFORMED), tmp_path)
        wrong = [file for file, text in zip(MALFORMED, said, strict=True) if CANARY in text]
        assert wrong == []

    def test_of_the_environment_and_secure_yaml(
        self, tmp_path: Path, echoing: dict[str, str]
    ) -> None:
        clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": entry("v3token", echoing["401"])}}))
        url = with_password(f"{echoing['401']}/v3", CANARY)
        secure = {"clouds": {"c": {"auth": {"auth_url": url, "token": SECRET}}}}
        (tmp_path / "secure.yaml").write_text(yaml.safe_dump(secure))
        [said] = shown(
            [""],
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
        [said] = shown([file], tmp_path, http_proxy=proxy.format(f"{CANARY}x"), no_proxy="")
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
            [said] = shown([file], tmp_path)
        assert "404" in said
        assert CANARY not in said


def test_a_trace_holds_no_secret(tmp_path: Path) -> None:
    """Of an unexpected error, with what lies beneath it."""
    cloud = entry("v3password", "http://127.0.0.1:1")
    client_from("c", clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}})))

    def fail() -> None:
        raise KeyError(SECRET) from ValueError(f"can't read {SECRET!r} and {SECRET}")

    with pytest.raises(KeyError) as caught:
        fail()
    assert CANARY in "".join(traceback.format_exception(caught.value))
    stdin = json.dumps({"ipam": {"stateDir": str(tmp_path)}}).encode()
    said = record(caught.value, stdin, [])
    log = (tmp_path / "plugin.log").read_text()
    assert "can't read" in log
    assert CANARY not in log + "".join(said)


def test_words_of_everyday_stay(tmp_path: Path) -> None:
    """Names, numbers and addresses of the entry are no secrets: an operator needs them."""
    with FakeNeutron() as neutron:
        more = {"odd": 5, "tries": "2", "on": True, "secgroup_source": "neutron", "x": "Neutron"}
        cloud = entry("none", neutron.url, region_name="north", **more)
        file = clouds_yaml(tmp_path, yaml.safe_dump({"clouds": {"c": cloud}}))
        [said] = shown([file], tmp_path)
    assert "neutron_cni.openstack" in said
    assert "Port 00000000-0000-4000-8000-000000000001 could not be found" in said

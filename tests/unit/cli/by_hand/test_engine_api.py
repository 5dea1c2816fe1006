"""What Docker and podman answer about a container, from answers recorded of both.

Recorded of Docker 20.10.24 and podman 4.3.1 (Debian 12), cut to the keys that say what a container
is and where its network is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Event, Thread
from typing import Any

import pytest

from neutron_cni.cli.by_hand import engine_api
from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

PATIENCE = 120.0
WEB = "0dc6691586efda08d0cebee060c4ee40d5db0789360c1bc07b16d1d0389eaecf"
RUNNING = {
    "Id": WEB,
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "Paused": False, "Pid": 24180, "ExitCode": 0},
    "HostConfig": {"NetworkMode": "none"},
    "NetworkSettings": {"SandboxKey": "/var/run/docker/netns/842b683be77a"},
}
CREATED = {
    "Id": "febe2e125fac769f9bbae7653b64f0d242f9baede5882b0eb247f42260cc5732",
    "Name": "/stopped",
    "State": {"Status": "created", "Running": False, "Pid": 0},
    "HostConfig": {"NetworkMode": "none"},
}
DOCKER_404 = {"message": "No such container: nosuch"}
PODMAN_404 = {
    "cause": "no such container",
    "message": 'no container with name or ID "nosuch" found: no such container',
    "response": 404,
}


class Service:
    """A service at a socket, with an answer for each container."""

    def __init__(self, path: Path, api: str = "1.41") -> None:
        self.path = path
        self.api = api
        self.answers: dict[str, tuple[int, Any]] = {}
        self.absent: tuple[int, Any] = (404, DOCKER_404)
        self.asked: list[str] = []
        self.stuck: Event | None = None

    def answer(self, target: str) -> tuple[int, Any]:
        self.asked.append(target)
        if self.stuck is not None:
            self.stuck.wait(PATIENCE)
        if target == "/_ping":
            return 200, "OK"
        _, version, _, word, _ = target.split("/")
        assert version == f"v{self.api}"
        return self.answers.get(word, self.absent)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "docker.sock")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path)
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Api-Version", made.api)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except BrokenPipeError:
                return

        def address_string(self) -> str:
            return "a client"

        def log_message(self, *_: object) -> None:
            return

    with ExitStack() as stack:
        server = stack.enter_context(ThreadingUnixStreamServer(str(made.path), Handler))
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield made
        if made.stuck is not None:
            made.stuck.set()


def find(service: Service, word: str, seconds: float = PATIENCE) -> Container | None:
    return engine_api.find("docker", str(service.path), word, Deadline.after(seconds))


def test_a_running_container_is_found_by_what_it_is_called(service: Service) -> None:
    service.answers["web"] = (200, RUNNING)
    found = find(service, "web")
    assert found == Container("docker", WEB, ("web",), 24180)
    assert str(found) == "the docker container web (0dc6691586ef)"
    assert found.network_id == WEB


def test_the_servers_own_version_of_the_api_is_spoken(service: Service) -> None:
    service.api = "1.52"
    service.answers["web"] = (200, RUNNING)
    assert find(service, "web") is not None
    assert service.asked == ["/_ping", "/v1.52/containers/web/json"]


def test_one_that_does_not_run_has_no_pid(service: Service) -> None:
    service.answers["stopped"] = (200, CREATED)
    found = find(service, "stopped")
    assert found is not None
    assert found.pid == 0


def test_one_that_shares_anothers_network_names_that_one(service: Service) -> None:
    other = "9e807bd168904e3acad648cef7dafeff9e5e3a788aa102a832bb2e0bc35f8d85"
    shared = {**RUNNING, "HostConfig": {"NetworkMode": f"container:{other}"}}
    service.answers["web"] = (200, shared)
    found = find(service, "web")
    assert found is not None
    assert found.network_id == other


@pytest.mark.parametrize("said", [DOCKER_404, PODMAN_404])
def test_what_it_does_not_know_is_none(service: Service, said: object) -> None:
    service.absent = (404, said)
    assert find(service, "nosuch") is None


def test_a_word_is_one_part_of_the_path_whatever_is_in_it(service: Service) -> None:
    assert find(service, "a/../b?x=1#y z") is None
    assert service.asked[-1] == "/v1.41/containers/a%2F..%2Fb%3Fx%3D1%23y%20z/json"


def test_an_ambiguous_id_is_told_in_its_words(service: Service) -> None:
    service.answers["0d"] = (400, {"message": "Multiple IDs found with provided prefix: 0d"})
    with pytest.raises(CniError, match="docker says of '0d': Multiple IDs found"):
        find(service, "0d")


@pytest.mark.parametrize("body", ["no json", "[]", '{"Name": "/web"}', '{"Id": 7}'])
def test_an_answer_of_another_kind_is_an_error(service: Service, body: str) -> None:
    service.answers["web"] = (200, body)
    with pytest.raises(CniError):
        find(service, "web")


def test_a_service_that_does_not_answer_is_given_up(service: Service) -> None:
    service.stuck = Event()
    with pytest.raises(CniError, match=r"docker can't be asked at .*: timed out") as caught:
        find(service, "web", 0.2)
    assert caught.value.code == Code.IO_FAILURE


def test_without_a_service_nothing_is_known(tmp_path: Path) -> None:
    assert engine_api.find("docker", str(tmp_path / "no"), "web", Deadline.after(1)) is None
    (tmp_path / "file").touch()
    assert engine_api.find("docker", str(tmp_path / "file"), "web", Deadline.after(1)) is None


def test_a_socket_that_a_service_left_is_none(service: Service, tmp_path: Path) -> None:
    import socket

    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    assert engine_api.find("podman", str(left), "web", Deadline.after(PATIENCE)) is None

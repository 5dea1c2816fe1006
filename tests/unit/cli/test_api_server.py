"""What the command-line tool asks an API server: a real client, and an HTTP server that answers as
Kubernetes does."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from neutron_cni.cli.api_server import known_nodes, service_cidrs
from neutron_cni.values.errors import CniError, Code

SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
KUBEADM = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
NODES = "/api/v1/nodes"

Answers = dict[str, tuple[int, object]]


@contextmanager
def answering(folder: Path, answers: Answers) -> Iterator[str]:
    """The path of a kubeconfig for a server with these answers by path; 404 for any other."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gone = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            status, document = answers.get(self.path.partition("?")[0], (404, gone))
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield kubeconfig(folder, server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(folder: Path, port: int) -> str:
    """The path of a kubeconfig that names a server on this port of the loopback."""
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "m", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
        "current-context": "m",
        "users": [{"name": "m", "user": {}}],
    }
    path.write_text(json.dumps(document))
    return str(path)


def objects(*cidrs: list[str]) -> tuple[int, object]:
    """The answer that lists a ServiceCIDR with each of these, as Kubernetes 1.33 words it."""
    items = [
        {
            "metadata": {"name": f"cidr{index}", "resourceVersion": "7"},
            "spec": {"cidrs": item},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        for index, item in enumerate(cidrs)
    ]
    kind = {"kind": "ServiceCIDRList", "apiVersion": "networking.k8s.io/v1"}
    return 200, {**kind, "metadata": {"resourceVersion": "9"}, "items": items}


def recorded(networking: object) -> tuple[int, object]:
    """kubeadm's ConfigMap with this `networking` in its ClusterConfiguration."""
    text = yaml.safe_dump({"kind": "ClusterConfiguration", "networking": networking})
    metadata = {"name": "kubeadm-config", "namespace": "kube-system"}
    data = {"ClusterConfiguration": text}
    return 200, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}


SAID: dict[str, tuple[Answers, list[str]]] = {
    "objects, of both versions": (
        {SERVICE_CIDRS: objects(["10.96.0.0/12", "fd96::/112"])},
        ["10.96.0.0/12", "fd96::/112"],
    ),
    "an object that was added": (
        {SERVICE_CIDRS: objects(["10.96.0.0/16"], ["10.100.0.0/24"], ["10.96.0.0/16"])},
        ["10.96.0.0/16", "10.100.0.0/24"],
    ),
    "objects count, and not what kubeadm once recorded": (
        {
            SERVICE_CIDRS: objects(["10.100.0.0/24"]),
            KUBEADM: recorded({"serviceSubnet": "10.96.0.0/12"}),
        },
        ["10.100.0.0/24"],
    ),
    "kubeadm": ({KUBEADM: recorded({"serviceSubnet": "10.96.0.0/12"})}, ["10.96.0.0/12"]),
    "kubeadm, of both versions": (
        {KUBEADM: recorded({"serviceSubnet": "10.96.0.0/16, fd96::/112"})},
        ["10.96.0.0/16", "fd96::/112"],
    ),
    "the kind is known, and there is none": (
        {SERVICE_CIDRS: objects(), KUBEADM: recorded({"serviceSubnet": "10.96.0.0/12"})},
        ["10.96.0.0/12"],
    ),
}


@pytest.mark.parametrize(("answers", "expected"), SAID.values(), ids=SAID)
def test_service_networks_are_read_from_the_cluster(
    tmp_path: Path, answers: Answers, expected: list[str]
) -> None:
    with answering(tmp_path, answers) as path:
        assert service_cidrs(path) == expected


SILENT: dict[str, Answers] = {
    "neither": {},
    "kubeadm recorded none": {KUBEADM: recorded({"podSubnet": "10.1.0.0/16"})},
    "kubeadm recorded nothing": {KUBEADM: recorded(None)},
    "a record without data": {KUBEADM: (200, {"kind": "ConfigMap", "apiVersion": "v1"})},
}


@pytest.mark.parametrize("answers", SILENT.values(), ids=SILENT)
def test_a_cluster_that_does_not_say_its_service_networks_is_named(
    tmp_path: Path, answers: Answers
) -> None:
    with answering(tmp_path, answers) as path, pytest.raises(CniError) as caught:
        service_cidrs(path)
    assert caught.value.code == Code.INVALID_CONFIG
    assert f"the cluster of {path} has neither ServiceCIDR objects" in caught.value.message
    assert "--service-cidr" in caught.value.details


UNREADABLE: dict[str, tuple[Answers, str]] = {
    "forbidden": ({SERVICE_CIDRS: (403, {"kind": "Status", "code": 403})}, "403 Forbidden"),
    "forbidden, kubeadm's": ({KUBEADM: (403, {"kind": "Status"})}, "403 Forbidden"),
    "broken": ({SERVICE_CIDRS: (500, {"kind": "Status"})}, "500 Internal Server Error"),
    "a page of HTML": ({SERVICE_CIDRS: (200, b"<html>")}, "does not answer as an API server does"),
    "another shape": ({SERVICE_CIDRS: (200, {"items": [{}]})}, "does not answer as an API server"),
    "a record that is no YAML": (
        {KUBEADM: (200, {"data": {"ClusterConfiguration": "a: ["}})},
        "kubeadm-config is damaged",
    ),
    "a record of another shape": (
        {KUBEADM: (200, {"data": {"ClusterConfiguration": "[1]"}})},
        "kubeadm-config is damaged",
    ),
}


@pytest.mark.parametrize(("answers", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_that_is_none_is_a_sentence(tmp_path: Path, answers: Answers, said: str) -> None:
    with answering(tmp_path, answers) as path, pytest.raises(CniError) as caught:
        service_cidrs(path)
    assert caught.value.code == Code.TRY_AGAIN
    assert f"the API server of {path} can't be asked: " in caught.value.message
    assert said in caught.value.message


def test_an_api_server_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with answering(tmp_path, {}) as path:
        pass
    with pytest.raises(CniError, match="refused") as caught:
        service_cidrs(path)
    assert caught.value.code == Code.TRY_AGAIN


ASKS: dict[str, Callable[[str], object]] = {
    "nodes": lambda path: known_nodes(path)("node"),
    "service networks": service_cidrs,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("first", ["", "/nonexistent:"], ids=["alone", "in a list"])
def test_a_kubeconfig_that_is_a_fifo_is_an_error_at_once(
    tmp_path: Path, first: str, ask: Callable[[str], object]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CniError, match="is a FIFO"):
        ask(f"{first}{tmp_path / 'pipe'}")


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("text", [None, "", "x: [", "[]"])
def test_a_kubeconfig_that_is_none_is_a_sentence(
    tmp_path: Path, text: str | None, ask: Callable[[str], object]
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CniError, match=f"the API server of {path} can't be asked: ."):
        ask(str(path))


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_without_the_optional_client_it_is_named(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    found = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "kubernetes":
            raise ImportError(name)
        return found(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CniError, match="needs the Kubernetes client") as caught:
        ask("/nonexistent")
    assert "neutron-cni[kubernetes]" in caught.value.details


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (("node", ""), True),
        (("node.example", ""), True),
        (("i-0", "node"), True),
        (("x", ""), False),
    ],
)
def test_a_node_is_known_by_any_of_its_names(
    tmp_path: Path, names: tuple[str, str], known: bool
) -> None:
    metadata = {"name": names[0], "labels": {"kubernetes.io/hostname": names[1]}}
    nodes = {"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": metadata}]}
    with answering(tmp_path, {NODES: (200, nodes)}) as path:
        assert known_nodes(path)("node") is known

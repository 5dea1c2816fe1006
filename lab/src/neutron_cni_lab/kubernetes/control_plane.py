"""etcd and kube-apiserver of a lab, on a node's network: a Kubernetes cluster to be filled."""

import base64
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neutron_cni_lab import namespaces
from neutron_cni_lab.facts import locked, ports_of_others
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.neutron import free_port
from neutron_cni_lab.node import Node
from neutron_cni_lab.processes import daemon, end, run, running, wait_until

SERVICE_CIDRS = ("10.96.0.0/16", "fd96::/112")

PORT = 6443
"""Where nodes and pods ask it."""

_ETCD = "http://127.0.0.1:2379"
_ADMIN, _PROXY = "admin", "system:kube-proxy"
_GROUPS = {_ADMIN: "system:masters", _PROXY: ""}
"""Who may ask, each with a token of his own; what he may do, Kubernetes' own roles say."""

_WAY_IN = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen kube-apiserver
    bind 127.0.0.1:{port}
    server node 127.0.0.1:{inside} namespace {namespace}
"""
"""For haproxy, which leads the host into the node's network."""


class ControlPlane:
    """etcd and kube-apiserver in the network of `node`, whose address all other nodes ask.

    They are on a VM, as a cluster's are: they reach nodes and pods, and those them, by Neutron
    alone. They see the host's files and are processes of the lab: `Lab.down` ends them, and so does
    whatever stops the node, which has the host's kernel.
    """

    def __init__(self, lab: Lab, node: Node) -> None:
        self.node = node
        self._places = lab.places
        self._api_port = int(lab.facts["api_port"])
        self.programs = lab.software.kubernetes
        self._folder = lab.places.folder / "kubernetes"
        self._certificates = self._folder / "certificates"
        self._tokens = self._folder / "tokens.csv"
        self._key = self._folder / "service-accounts.key"

    @property
    def is_ready(self) -> bool:
        """Whether it answers, and says that it can serve."""
        if not self._authority.exists():
            return False
        url = f"https://localhost:{PORT}/readyz"
        ask: list[str | Path] = ["curl", "-s", "-m", "5", "--cacert", self._authority, url]
        return run(namespaces.inside(self.node.namespace, ask), check=False) == "ok"

    def start(self) -> None:
        """Have it running; unless it was, with nothing in its store. `LabError` if it does not
        begin to serve within two minutes, or its programs are not built."""
        if self.is_ready:
            return
        self.stop()
        self._certificates.mkdir(parents=True)
        self._write_tokens()
        run(["openssl", "genrsa", "-out", self._key, "2048"])
        with locked(self._places.home / "ports.lock"):
            self._let_host_in()
        self._start("etcd", self._etcd())
        self._start("kube-apiserver", self._api_server())
        wait_until(
            lambda: self.is_ready,
            "kube-apiserver",
            120,
            f"`neutron-cni lab logs --name {self._places.name} kube-apiserver` says why.",
            lambda: running(self._places.folder, str(self._certificates)),
        )

    def stop(self) -> None:
        """End it, and forget what it stored. Harmless twice."""
        end(running(self._places.folder, str(self._folder)))
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self) -> Any:
        """A ``kubernetes.client.ApiClient`` of the host's that may do everything."""
        from kubernetes import client, config  # 0.6 s

        configuration = client.Configuration()
        configuration.proxy = None  # no $https_proxy leads there
        url = f"https://localhost:{self._host_port}"
        return config.new_client_from_config_dict(
            self._kubeconfig(_ADMIN, url), client_configuration=configuration
        )

    def kubeconfig_of_proxy(self) -> dict[str, Any]:
        """What kube-proxy has to know on any node; it names no files."""
        return self._kubeconfig(_PROXY, f"https://{self.node.address}:{PORT}")

    def kubeconfig_of_admin(self) -> dict[str, Any]:
        """What somebody who may do everything has to know on any node; it names no files."""
        return self._kubeconfig(_ADMIN, f"https://{self.node.address}:{PORT}")

    def _kubeconfig(self, user: str, url: str) -> dict[str, Any]:
        lines = (line.split(",") for line in self._tokens.read_text().splitlines())
        tokens = {name: token for token, name, *_ in lines}
        authority = base64.b64encode(self._authority.read_bytes()).decode()
        cluster = {"server": url, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": tokens[user]}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
            "current-context": "lab",
        }

    @property
    def _authority(self) -> Path:
        """Who vouches for the API server, which makes its certificate by itself."""
        return self._certificates / "apiserver.crt"

    @property
    def _host_port(self) -> int:
        return int((self._folder / "port").read_text())

    def _write_tokens(self) -> None:
        lines = [
            f'{secrets.token_hex(16)},{user},{user},"{group}"\n' for user, group in _GROUPS.items()
        ]
        self._tokens.touch(mode=0o600)
        self._tokens.write_text("".join(lines))

    def _let_host_in(self) -> None:
        port = free_port(ports_of_others(self._places) | {self._api_port})
        (self._folder / "port").write_text(str(port))
        configuration = self._folder / "haproxy.cfg"
        configuration.write_text(
            _WAY_IN.format(port=port, inside=PORT, namespace=self.node.namespace)
        )
        daemon(
            ["/usr/sbin/haproxy", "-db", "-f", configuration],
            env=self._places.environment,
            log=self._places.logs / "kubernetes-way-in.log",
        )
        wait_until(lambda: _is_open(port), f"haproxy on port {port}", 10)

    def _start(self, name: str, command: Sequence[str | Path]) -> None:
        daemon(
            namespaces.inside(self.node.namespace, [self.programs.path(name), *command]),
            env=self._places.environment,
            log=self._places.logs / f"{name}.log",
        )

    def _etcd(self) -> list[str]:
        return [
            *(f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
            *(f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]

    def _api_server(self) -> list[str]:
        return [
            *(f"--etcd-servers={_ETCD}", f"--cert-dir={self._certificates}"),
            *("--bind-address=0.0.0.0", f"--secure-port={PORT}"),
            f"--advertise-address={self.node.address}",
            *(f"--token-auth-file={self._tokens}", "--authorization-mode=Node,RBAC"),
            f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
        ]


def _is_open(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0

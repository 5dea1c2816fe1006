"""`neutron-cni gc --node`: what a node that is gone left in Neutron goes, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.leases_and_gc.networks import NOTHING, PAIRS, PORT
from tests.openstack.modes import (
    containers,
    remove_ports,
    reserving,
)
from tests.openstack.state import wait_until_settled

LOST = "mlost"


def lost(document: dict[str, Any], **ipam: Any) -> dict[str, Any]:
    """The configuration as the lost node had it."""
    return {**document, "name": "lost", "ipam": {**document["ipam"], "node": LOST, **ipam}}


def made_long_ago(lab: Lab, port: Any) -> None:
    """Have Neutron say that a port is ten minutes old."""
    lab.database.sql(
        "UPDATE neutron.standardattributes SET created_at = created_at - INTERVAL 600 SECOND"
        f" WHERE id = (SELECT standard_attr_id FROM neutron.ports WHERE id = '{port.id}')"
    )


class Leavings:
    """Ports of the lost node: `old` and `young` of mode `port`, `pair` whose VM still exists."""

    def __init__(self, lab: Lab, port: Any, pair: Any) -> None:
        self._calls = lab.connection().network
        self.old, self.young, self.pair = (self._like(model) for model in (port, port, pair))
        self._calls.set_tags(self.young, [*port.tags, "ncni-cluster=blue"])
        for item in (self.old, self.pair):
            made_long_ago(lab, item)

    def _like(self, model: Any) -> Any:
        made = self._calls.create_port(
            network_id=model.network_id, device_owner=model.device_owner, name="m-left"
        )
        return self._calls.set_tags(made, model.tags)

    @property
    def left(self) -> set[str]:
        """Which of them Neutron still has."""
        names = ("old", "young", "pair")
        return {n for n in names if self._calls.find_port(getattr(self, n).id) is not None}


ALL = {"old", "young", "pair"}


@pytest.fixture(scope="module")
def models(lab: Lab, module_node: Node) -> tuple[Any, Any]:
    """Ports as the lost node's plugin made them in the modes `port` and `address-pairs`."""
    with (
        containers(module_node, "port", lost(PORT)) as (port,),
        containers(module_node, "pair", lost(PAIRS)) as (pair,),
    ):
        return reserving(lab, port), reserving(lab, pair)


@pytest.fixture
def leavings(lab: Lab, node: Node, models: tuple[Any, Any]) -> Iterator[Leavings]:
    wait_until_settled(lab, node)  # What the models were made from is gone then.
    remove_ports(lab, f"ncni-node={LOST}")
    yield Leavings(lab, *models)
    remove_ports(lab, f"ncni-node={LOST}")


API = """
import http.server, json, sys
status, name, host = int(sys.argv[1]), *sys.argv[2:]
node = {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": host}}, "status": {}}
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {"apiVersion": "v1", "kind": "NodeList", "items": [node] if name else []}
        body = json.dumps(answer).encode()
        self.send_response(status if self.path.partition("?")[0] == "/api/v1/nodes" else 418)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
server = http.server.HTTPServer(("127.0.0.1", 6443), Api)
print("ready", flush=True)
server.serve_forever()
"""
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "m", "cluster": {"server": "http://127.0.0.1:6443"}}],
    "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
    "current-context": "m",
    "users": [{"name": "m", "user": {}}],
}


@contextmanager
def api_server(node: Node, status: int, name: str = "", host: str = "") -> Iterator[None]:
    """One that answers `status` (0: nobody listens), with a Node of that name and host name."""
    node.exec(["sh", "-c", "cat > /run/kubeconfig"], input=json.dumps(KUBECONFIG))
    if not status:
        yield
        return
    with node.popen(
        ["python", "-c", API, str(status), name, host], stdout=-1, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def gc_lost(node: Node, *words: str) -> Any:
    """Run `neutron-cni gc` for the lost node."""
    return node.exec(["neutron-cni", "gc", "--node", LOST, "--cloud", "lab", *words], check=False)


ASK = ("--kubeconfig", "/run/kubeconfig")


def test_only_old_ports_of_a_node_that_neither_api_server_nor_vm_know_are_removed(
    node: Node, leavings: Leavings
) -> None:
    with api_server(node, 200, "another"):
        looked = gc_lost(node, *ASK)
        assert looked.returncode == 0, looked
        lines = looked.stdout.splitlines()
        (old,) = [line for line in lines if leavings.old.id in line]
        (young,) = [line for line in lines if leavings.young.id in line]
        (pair,) = [line for line in lines if leavings.pair.id in line]
        assert old.startswith("would remove")
        assert "less than 300" in young
        assert f"the VM's port {node.port_id} still exists" in pair
        assert lines[-1].startswith("1 to do; nothing was changed")
        assert leavings.left == ALL

        assert gc_lost(node, "--apply", *ASK).returncode == 0
        assert leavings.left == {"young", "pair"}


@pytest.mark.parametrize(
    "names",
    [(LOST, ""), (f"{LOST}.example.org", ""), ("i-0123", LOST), ("i-0123", f"{LOST}.example.org")],
)
def test_nothing_of_a_node_that_the_api_server_knows_by_any_name_is_removed(
    node: Node, leavings: Leavings, names: tuple[str, str]
) -> None:
    with api_server(node, 200, *names):
        done = gc_lost(node, "--apply", *ASK)
    assert done.returncode == 0
    assert f"the API server still knows node {LOST}" in done.stdout
    assert "nothing to do" in done.stdout
    assert leavings.left == ALL


@pytest.mark.parametrize("status", [500, 403, 0])
def test_nothing_is_removed_while_the_api_server_can_not_say(
    node: Node, leavings: Leavings, status: int
) -> None:
    with api_server(node, status):
        done = gc_lost(node, "--apply", *ASK)
    assert done.returncode == 1
    assert "can't be asked" in done.stderr
    assert leavings.left == ALL


def test_a_pairs_port_goes_when_its_vm_is_gone_too(
    lab: Lab, node: Node, leavings: Leavings
) -> None:
    gone = "ncni-parent=00000000-0000-4000-8000-000000000000"
    tags = [tag for tag in leavings.pair.tags if not tag.startswith("ncni-parent=")]
    lab.connection().network.set_tags(leavings.pair, [*tags, gone])
    assert gc_lost(node, "--apply", "--node-is-gone").returncode == 0
    assert leavings.left == {"young"}


def test_ports_of_other_clusters_stay(lab: Lab, node: Node, leavings: Leavings) -> None:
    made_long_ago(lab, leavings.young)
    assert gc_lost(node, "--apply", "--node-is-gone", "--cluster", "red").stdout.endswith(NOTHING)
    done = gc_lost(node, "--apply", "--node-is-gone", "--cluster", "blue")
    assert done.returncode == 0
    assert leavings.left == {"old", "pair"}


def test_of_a_node_that_was_installed_anew_only_the_former_installations_ports_go(
    lab: Lab, node: Node, leavings: Leavings
) -> None:
    tags = {f"ncni-node={LOST}": f"ncni-node={node.name}"}
    network = lab.connection().network
    for port, install in ((leavings.old, "abcdef"), (leavings.young, "fedcba")):
        made_long_ago(lab, port)
        kept = [tags.get(tag, tag) for tag in port.tags if not tag.startswith("ncni-install=")]
        network.set_tags(port, [*kept, f"ncni-install={install}"])
    own = ["neutron-cni", "gc", "--node", node.name, "--node-is-gone", "--cloud", "lab", "--apply"]
    assert node.exec([*own, "--install", "abcdef"], check=False).returncode == 0
    assert leavings.left == {"young", "pair"}
    assert node.exec(own, check=False).returncode == 1
    network.delete_port(leavings.young)


def test_gc_of_a_node_needs_somebodys_word_that_it_is_gone_and_is_not_for_this_node(
    node: Node,
) -> None:
    refused = gc_lost(node, "--apply")
    assert refused.returncode == 1
    assert "--kubeconfig, or --node-is-gone" in refused.stderr
    own = node.exec(["neutron-cni", "gc", "--node", node.name, "--node-is-gone"], check=False)
    assert own.returncode == 1
    assert "this node" in own.stderr

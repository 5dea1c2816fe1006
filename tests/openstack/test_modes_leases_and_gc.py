"""`neutron-cni leases` and `neutron-cni gc`: what differs is shown, what nobody uses goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import (
    LONG,
    Container,
    addresses,
    age,
    check,
    cli,
    configure,
    containers,
    end_rests,
    fresh_nodes,
    remove_ports,
    reserving,
    take_off,
)
from tests.openstack.plugin import config
from tests.openstack.state import leases, snapshot, wait_for, wait_until_settled

FIXED = {**config("1.1.0"), "name": "fixed"}
PAIRS = {**config("1.1.0", mode="address-pairs"), "name": "pairs"}
PORT = {**config("1.1.0", mode="port", network="tenant"), "name": "port"}
NOTHING = "nothing to do\n"
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=1234"


@pytest.fixture(scope="module")
def module_node(lab: Lab) -> Iterator[Node]:
    with fresh_nodes(lab, "mgc") as (node,):
        yield node


@pytest.fixture
def node(lab: Lab, module_node: Node) -> Iterator[Node]:
    """A VM with a network of each mode, and a store that waits for nothing."""
    configure(module_node, FIXED, PAIRS, PORT)
    yield module_node
    wait_until_settled(lab, module_node)


def in_neutron(lab: Lab) -> set[str]:
    """Every address that some port of the network has, or lets pass."""
    return {
        item["ip_address"]
        for port in lab.connection().network.ports(network_id=lab.facts["networks"]["tenant"])
        for item in (*port.fixed_ips, *port.allowed_address_pairs)
    }


def listed(node: Node) -> dict[str, Any]:
    """What `neutron-cni leases --json` says."""
    found: dict[str, Any] = json.loads(cli(node, "leases", "--json").stdout)
    return found


def test_leases_shows_what_is_held_and_ends_with_0_if_neutron_agrees(lab: Lab, node: Node) -> None:
    assert "holds no addresses" in cli(node, "leases").stdout
    container = Container(node, "shown", {**config("1.1.0", quarantine=LONG), "name": "fixed"})
    container.add(ARGS=POD)
    shown = cli(node, "leases")
    assert shown.returncode == 0
    for part in (container.pod.address, "held", "shop/cart", "eth0", "fixed", "Neutron agrees"):
        assert part in shown.stdout
    document = listed(node)
    assert document["differences"] == document["problems"] == []
    (lease,) = document["leases"]
    assert lease["addresses"] == [container.pod.address]
    assert (lease["state"], lease["pod"], lease["podUid"]) == ("held", "shop/cart", "1234")
    assert (lease["containerId"], lease["ifname"]) == (container.name, "eth0")
    assert (lease["mode"], lease["ports"]) == ("fixed-ips", [node.port_id])
    room = {item["network"]: item for item in document["capacity"]}
    (subnet,) = room["fixed"]["subnets"]
    assert (room["fixed"]["full"], subnet["cidr"]) == (False, "10.10.0.0/20")
    assert f"fixed: {subnet['free']} free in {subnet['name']} (10.10.0.0/20)" in shown.stdout

    container.delete()
    rests = cli(node, "leases")
    assert (rests.returncode, "cooling" in rests.stdout) == (0, True)
    end_rests(lab, node)


def test_leases_names_differences_and_ends_with_1(lab: Lab, node: Node) -> None:
    calls = lab.connection().network
    foreign = f"/ports/{node.port_id}/tags/ncni:10.10.15.9:abcdef:01234567"
    with (
        containers(node, "missing", FIXED) as (missing,),
        containers(node, "unreserved", PORT) as (unreserved,),
    ):
        take_off(lab, node, missing.pod.address)
        calls.delete_port(reserving(lab, unreserved))
        calls.put(foreign)
        found = cli(node, "leases")
        assert found.returncode == 1
        differ = [
            f"missing {missing.pod.address}",
            f"missing {unreserved.pod.address}",
            "foreign 10.10.15.9",
        ]
        for line in differ:
            assert line in found.stdout
        told = [f"{item['kind']} {item['address']}" for item in listed(node)["differences"]]
        assert sorted(told) == sorted(differ)
        calls.delete(foreign)

        offline = cli(node, "leases", "--offline")
        assert (offline.returncode, missing.pod.address in offline.stdout) == (0, True)


def test_leases_and_gc_say_why_they_could_not_compare(node: Node) -> None:
    configure(node, config("1.1.0", cloud="nosuch"))
    found = cli(node, "leases")
    assert found.returncode == 1
    assert "could not compare" in found.stdout
    assert "nosuch" in found.stdout
    looked = cli(node, "gc")
    assert looked.returncode == 1
    assert "could not look" in looked.stderr
    assert "nosuch" in looked.stderr


def test_gc_releases_the_leases_of_namespaces_that_are_gone(lab: Lab, node: Node) -> None:
    gone = [Container(node, f"gone{n}", doc) for n, doc in enumerate((FIXED, PAIRS, PORT))]
    with (
        containers(node, "fixed", FIXED) as (fixed,),
        containers(node, "pair", PAIRS) as (pair,),
        containers(node, "port", PORT) as (port,),
    ):
        theirs = [addresses(container.add())[0] for container in gone]
        ours = [container.pod.address for container in (fixed, pair, port)]
        for container in gone:
            node.exec(["ip", "netns", "del", container.name])
        assert cli(node, "gc").stdout == NOTHING  # Their ADD may be still at work.

        age(lab, node)
        before = snapshot(lab, node)
        looked = cli(node, "gc")
        assert looked.returncode == 0
        for address in theirs:
            assert f"would release {address}:" in looked.stdout
        assert "3 to do; nothing was changed" in looked.stdout
        for address in ours:
            assert f"release {address}:" not in looked.stdout
            assert f"doubtful {address}:" in looked.stdout  # As no process is in these pods.
        assert snapshot(lab, node) == before

        done = cli(node, "gc", "--apply")
        assert done.returncode == 0, done
        for address in theirs:
            assert f"release {address}:" in done.stdout
        wait_for(lambda: not in_neutron(lab) & set(theirs), "the addresses to be given back")
        assert in_neutron(lab) >= set(ours)
        assert cli(node, "gc").stdout.endswith(NOTHING)


def test_a_sandbox_that_the_runtime_forgot_is_freed_once_the_operator_names_it(
    lab: Lab, node: Node
) -> None:
    """It has a namespace, a link and an address, and nothing runs in it."""
    forgotten = Container(node, "forgotten", FIXED)
    with containers(node, "other", FIXED) as (other,):
        (address,) = addresses(forgotten.add())
        age(lab, node)
        assert f"doubtful {address}:" in cli(node, "gc", "--apply").stdout
        done = cli(node, "gc", "--apply", "--free", address)
        assert done.returncode == 0, done
        assert f"release {address}:" in done.stdout
        wait_for(lambda: address not in in_neutron(lab), "the address to be given back")
        links = node.exec(["ip", "link", "show"]).stdout
        assert f"neutron-cni fixed {forgotten.name} " not in links
        assert f"neutron-cni fixed {other.name} " in links
        assert other.pod.address in in_neutron(lab)
    forgotten.delete()


def test_gc_leaves_an_address_that_a_process_without_a_named_namespace_has(
    lab: Lab, node: Node
) -> None:
    container = Container(node, "unnamed", FIXED)
    (address,) = addresses(container.add())
    with container.pod.popen(["sleep", "600"]) as process:
        pids = ["ip", "netns", "pids", container.name]
        wait_for(lambda: bool(node.exec(pids).stdout), "the process to be there")
        node.exec(["ip", "netns", "del", container.name])
        age(lab, node)
        assert cli(node, "gc").stdout == NOTHING
        process.kill()
    assert f"would release {address}:" in cli(node, "gc").stdout
    container.call("DEL")


def test_gc_takes_over_what_a_lost_store_had_and_releases_what_nobody_has(
    lab: Lab, node: Node
) -> None:
    documents = (FIXED, PAIRS, PORT)
    lives = [Container(node, f"lives{n}", document) for n, document in enumerate(documents)]
    gone = [Container(node, f"gone{n}", document) for n, document in enumerate(documents)]
    try:
        results = [container.add() for container in lives]
        ours = [addresses(result)[0] for result in results]
        theirs = [addresses(container.add())[0] for container in gone]
        for container in gone:
            node.exec(["ip", "netns", "del", container.name])
        node.exec(["sh", "-c", "rm /var/lib/neutron-cni/store.db*"])

        found = cli(node, "leases")
        assert found.returncode == 1
        for address in (*ours, *theirs):
            assert f"unknown {address}:" in found.stdout
        looked = cli(node, "gc").stdout
        for address in theirs:
            assert f"would release {address}:" in looked
        for address in ours:
            assert f"would take over {address}:" in looked

        # With the store went what ADD noted; a node of the lab has not the network of process 1.
        refused = cli(node, "gc", "--apply")
        assert (refused.returncode, "nothing was released" in refused.stderr) == (1, True)
        done = cli(node, "gc", "--apply", "--view-is-whole")
        assert done.returncode == 0, done
        wait_for(lambda: not in_neutron(lab) & set(theirs), "the addresses to be given back")
        assert in_neutron(lab) >= set(ours)
        for container, result in zip(lives, results, strict=True):
            assert check(container, result).status == 0
    finally:
        for container in lives:
            container.delete()
    wait_for(lambda: not leases(lab, node), "the store to be empty", 60)


# What a lost node left


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

"""What the tests of the IPAM modes share: nodes of their own, and pods by plain plugin calls."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod
from neutron_cni_lab.ovn import Ovn
from tests.openstack.node_store import in_store
from tests.openstack.plugin import NETWORK, Answer, call, config
from tests.openstack.state import leases, wait_for

MARK = "neutron-cni modes test"
"""Description of every Neutron object that these tests make."""

CONF_DIR = "/run/neutron-cni-modes/net.d"
"""Where `configure` puts the networks that `cli` finds."""

PREFIX = "m-"
"""What the names of the pods' namespaces begin with that these tests make."""


@contextmanager
def fresh_nodes(
    lab: Lab,
    *names: str,
    network: str = "tenant",
    kind: Literal["vm", "bare"] = "vm",
    kernel: Literal["shared", "own"] = "shared",
) -> Iterator[list[Node]]:
    """Nodes without a past; what a run that was killed left of them goes first."""
    for name in names:
        _remove(lab, name)
    try:
        yield [lab.add_node(name, network, kind, kernel) for name in names]
    finally:
        for name in names:
            _remove(lab, name)


def _remove(lab: Lab, name: str) -> None:
    lab.remove_node(name)
    remove_ports(lab, f"ncni-node={name}")


def remove_ports(lab: Lab, tag: str) -> None:
    """Delete the reserving ports that carry a tag."""
    network = lab.connection().network
    for port in network.ports(device_owner="neutron-cni:pod", tags=tag):
        network.delete_port(port)


@contextmanager
def undone(*command: str) -> Iterator[None]:
    """Runs `command` at the end, also when these tests are killed in the middle.

    A shell waits for its standard input to be closed, which the kernel does for whoever dies.
    """
    words = ["sh", "-c", 'read -r _; exec "$@"', "undo", *command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as watchdog:
        assert watchdog.stdin is not None
        try:
            yield
        finally:
            watchdog.stdin.close()
            assert watchdog.wait(timeout=120) == 0, command


def remove_network(lab: Lab, name: str) -> None:
    """Delete the network of that name with all that is on it, if there is one."""
    calls = lab.connection().network
    found = calls.find_network(name, ignore_missing=True)
    if found is None:
        return
    for port in list(calls.ports(network_id=found.id)):
        if port.device_owner == "network:router_interface":
            calls.remove_interface_from_router(port.device_id, port=port.id)
        elif port.device_owner != "network:distributed":
            calls.delete_port(port)
    calls.delete_network(found)


@contextmanager
def settled(lab: Lab, *nodes: Node) -> Iterator[None]:
    """Leaves and wants the nodes without pods of these tests, and with nothing to give back."""
    for node in nodes:
        _sweep(lab, node)
    try:
        yield
    finally:
        for node in nodes:
            _sweep(lab, node)


def _sweep(lab: Lab, node: Node) -> None:
    """GC of all that tests attached, and what rests or is watched need not do so any longer."""
    document = {**config("1.1.0"), "cni.dev/valid-attachments": []}
    answer = call(node, "GC", document=document)
    assert answer.status == 0, answer
    for line in node.exec(["ip", "netns", "list"]).stdout.splitlines():
        if line.startswith(PREFIX):
            node.exec(["ip", "netns", "del", line.split()[0]], check=False)
    wait_for(
        lambda: not [row for row in leases(lab, node) if row["network"] in (NETWORK, "")],
        f"addresses of {node.name} to be given back",
        60,
    )


class Container:
    """A network namespace on a node that our plugin is called for, as a runtime would.

    `document`: the configuration; see `plugin.config`.
    """

    def __init__(
        self, node: Node, name: str, document: dict[str, Any], plugin: str = "veth-route"
    ) -> None:
        self.node = node
        self.name = f"{PREFIX}{name}"
        self.document = document
        self.plugin = plugin
        self.pod = Pod(node, self.name)
        if node.exec(["test", "-e", self.pod.netns], check=False).returncode:
            node.exec(["ip", "netns", "add", self.name])

    def call(self, command: str, more: Mapping[str, Any] | None = None, **environ: str) -> Answer:
        """One call; `more` goes into the configuration, `environ` are further CNI variables."""
        document = {**self.document, **(more or {})}
        return call(self.node, command, self.name, document, plugin=self.plugin, **environ)

    def add(self, more: Mapping[str, Any] | None = None, **environ: str) -> dict[str, Any]:
        """The result of an ADD that succeeds."""
        answer = self.call("ADD", more, **environ)
        assert answer.status == 0, answer
        return answer.json

    def delete(self) -> None:
        """DEL, and the namespace goes."""
        answer = self.call("DEL")
        assert answer.status == 0, answer
        self.node.exec(["ip", "netns", "del", self.name], check=False)


@contextmanager
def containers(
    node: Node, names: str, document: dict[str, Any], plugin: str = "veth-route"
) -> Iterator[list[Container]]:
    """Containers with an address each (`names`: by blanks), taken down at the end."""
    with ExitStack() as stack:
        made = []
        for name in names.split():
            made.append(Container(node, name, document, plugin))
            stack.callback(made[-1].delete)
            made[-1].add()
        yield made


def reserving(lab: Lab, container: Container) -> Any:
    """The Neutron port that reserves the addresses that the container has now."""
    (lease,) = [
        row
        for row in leases(lab, container.node)
        if (row["container_id"], row["state"]) == (container.name, "held")
    ]
    (port,) = lab.connection().network.ports(device_id=lease["nonce"])
    return port


def facts(lab: Lab, node: Node, prefix: str) -> dict[str, str]:
    """What the node's store remembers under keys that begin with `prefix`."""
    rows = in_store(lab, node, "SELECT key, value FROM fact")
    return {row["key"]: row["value"] for row in rows if row["key"].startswith(prefix)}


def addresses(result: Mapping[str, Any]) -> list[str]:
    """The addresses of a CNI result, without their prefixes."""
    return [str(item["address"]).partition("/")[0] for item in result["ips"]]


def answer_for_pods(node: Node) -> None:
    """What docs/how-to/upstream-main-plugins.md says of ML2/OVS: under plugins that know nothing of
    Neutron somebody must answer ARP for the pods that the node routes to."""
    node.exec(["sysctl", "-qw", "net.ipv4.conf.eth0.proxy_arp=1"])


def port_binding(lab: Lab, port_id: str) -> dict[str, Any]:
    """What OVN's southbound database says of a port: ``type``, ``chassis``, ``virtual_parent``
    and so on, each empty where it is not set; {} when it has no such port.

    After Neutron's answer the northbound database is right; ovn-northd follows a little later.
    """
    assert isinstance(lab.driver, Ovn), "nobody else has virtual ports"
    lab.driver.switch.sync()
    words = ["--format=json", "find", "Port_Binding", f"logical_port={port_id}"]
    found = json.loads(_run("ovn-sbctl", lab.driver.switch.southbound, words))
    rows = [dict(zip(found["headings"], row, strict=True)) for row in found["data"]]
    return {key: "" if value == ["set", []] else value for key, value in (rows or [{}])[0].items()}


def bound_to(lab: Lab, port_id: str, parent: str) -> dict[str, Any]:
    """The binding of a virtual port, once ovn-controller has heard its parent announce it."""
    wait_for(
        lambda: port_binding(lab, port_id).get("virtual_parent") == parent,
        f"OVN to bind port {port_id} to {parent}",
    )
    return port_binding(lab, port_id)


def _run(program: str, database: str, words: list[str]) -> str:
    command = [program, f"--db={database}", "--timeout=20", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check(container: Container, result: Mapping[str, Any]) -> Answer:
    """CHECK, with the result of ADD."""
    return container.call("CHECK", {"prevResult": result})


def take_off(lab: Lab, node: Node, address: str) -> None:
    """Take an address off the node's port, as an operator might."""
    calls = lab.connection().network
    now = calls.get_port(node.port_id).fixed_ips
    left = [item for item in now if item["ip_address"] != address]
    calls.update_port(node.port_id, fixed_ips=left)


def configure(node: Node, *documents: Mapping[str, Any]) -> None:
    """Have exactly these networks configured in CONF_DIR."""
    node.exec(["sh", "-c", f"rm -rf {CONF_DIR}; mkdir -p {CONF_DIR}"])
    for document in documents:
        target = f"{CONF_DIR}/{document['name']}.conf"
        node.exec(["sh", "-c", f"cat > {target}"], input=json.dumps(document))


def cli(node: Node, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `neutron-cni leases` or `gc` with the networks of CONF_DIR."""
    return node.exec(["neutron-cni", command, "--conf-dir", CONF_DIR, *words], check=False)


LONG = 3600
"""A quarantine that is over when a test says so by `end_rests`, and not before."""


def edit_store(lab: Lab, node: Node, statement: str, *values: Any) -> None:
    """Change the node's store behind the back of the product."""
    in_store(lab, node, statement, *values)


def end_rests(lab: Lab, node: Node) -> None:
    """Every address of the node that rests has rested enough; the sweeper sees it in seconds."""
    edit_store(lab, node, "UPDATE lease SET until = 0 WHERE state = 'cooling'")


def forget_looks(lab: Lab, node: Node) -> None:
    """The node's next STATUS asks the cloud, instead of answering what the last one saw."""
    edit_store(lab, node, "DELETE FROM fact WHERE key LIKE 'status|%'")


def age(lab: Lab, node: Node, seconds: float = 120) -> None:
    """Make every lease of the node older."""
    edit_store(lab, node, "UPDATE lease SET changed = changed - ?", seconds)

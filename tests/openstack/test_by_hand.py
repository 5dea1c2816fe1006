"""`neutron-cni attach` and `detach` on a node: our plugins, and upstream's with their own IPAM.

A process in a network namespace of its own stands for a container: that is what one is to a
plugin. docs/how-to/by-hand.md says the same in words.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.conftest import CONF_DIR
from tests.openstack.plugin import collect, config
from tests.openstack.state import fixed_ips, leases, wait_for, wait_until_settled

FOLDER = "/run/neutron-cni-by-hand"
"""Where upstream's networks are on the node."""


class Container:
    """A process in a network namespace of its own, without a name."""

    def __init__(self, node: Node, process: subprocess.Popen[Any]) -> None:
        assert process.stdout is not None
        self.node = node
        self.pid = str(int(process.stdout.readline()))
        self.name = f"process {self.pid}"
        self.process = process

    def exec(
        self,
        words: Sequence[str | Path],
        *,
        check: bool = True,
        timeout: float | None = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run `words` in it."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *words]
        return self.node.exec(command, check=check, timeout=timeout)

    def popen(self, words: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start `words` in it."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *words]
        return self.node.popen(command, **options)

    def tool(self, command: str, *more: str, conf_dir: str = CONF_DIR) -> dict[str, Any]:
        """What `neutron-cni attach` or `detach` of it answers to programs."""
        words = ["neutron-cni", command, self.pid, "--conf-dir", conf_dir, "--json", *more]
        answer: dict[str, Any] = json.loads(self.node.exec(words).stdout)
        return answer

    @property
    def links(self) -> set[str]:
        found = json.loads(self.exec(["ip", "-j", "link"]).stdout)
        return {link["ifname"] for link in found}

    def end(self) -> None:
        """Kill it, and with it its namespace."""
        self.node.exec(["kill", "-9", self.pid], check=False)
        self.process.wait(60)


@pytest.fixture
def container(lab: Lab, lone_node: Node) -> Iterator[Container]:
    node = lone_node
    words = ["unshare", "-n", "sh", "-c", "echo $$; exec sleep 1000"]
    with node.popen(words, stdout=subprocess.PIPE) as process:
        made = Container(node, process)
        try:
            yield made
        finally:
            node.exec(["neutron-cni", "detach", made.pid], check=False)
            made.end()
    wait_until_settled(lab, node)


def held(node: Node) -> list[dict[str, Any]]:
    document = json.loads(node.exec(["neutron-cni", "leases", "--offline", "--json"]).stdout)
    return [item for item in document["leases"] if item["state"] == "held"]


def test_a_process_is_on_the_neutron_network(lab: Lab, container: Container) -> None:
    told = container.tool("attach")
    (address,) = [item["address"].partition("/")[0] for item in told["result"]["ips"]]
    assert traffic.ping(container, lab.facts["far_address"]).answered
    assert traffic.ping(lab.node("node2"), address).answered
    assert address in fixed_ips(lab, container.node)
    (lease,) = held(container.node)
    assert lease["containerId"] == told["containerId"]
    assert lease["containerId"].startswith(f"by-hand-pid-{container.pid}-")
    container.tool("detach")
    assert container.links == {"lo"}
    assert not held(container.node)
    wait_for(lambda: address not in fixed_ips(lab, container.node), "Neutron has it back")


def test_a_runtime_s_gc_leaves_it_alone(lab: Lab, container: Container) -> None:
    container.tool("attach")
    assert collect(container.node).status == 0
    assert len(held(container.node)) == 1
    assert traffic.ping(container, lab.facts["far_address"]).answered


def test_a_second_network_beside_the_first(lab: Lab, container: Container) -> None:
    container.tool("attach")
    container.tool("attach", "--ifname", "net1")
    assert container.links == {"lo", "eth0", "net1"}
    assert len(held(container.node)) == 2
    container.tool("detach", "--ifname", "net1")
    assert traffic.ping(container, container.node.address).answered == 3
    container.tool("detach")
    assert not held(container.node)


def test_a_requested_address_is_had(lab: Lab, container: Container) -> None:
    wanted = "10.10.13.57"
    told = container.tool("attach", "--ip", wanted)
    assert told["result"]["ips"][0]["address"].partition("/")[0] == wanted


def test_what_a_container_that_ended_had_goes_back(lab: Lab, container: Container) -> None:
    container.tool("attach")
    container.end()
    container.tool("detach")
    assert not held(container.node)
    wait_until_settled(lab, container.node)
    assert not fixed_ips(lab, container.node)


def test_killed_in_the_middle_nothing_leaks(lab: Lab, container: Container) -> None:
    """The plugins are killed with it; whoever detaches finds what they had begun."""
    lab.stop_neutron()
    try:
        words = ["neutron-cni", "attach", container.pid, "--conf-dir", CONF_DIR]
        with container.node.popen(words) as process:
            wait_for(lambda: bool(leases(lab, container.node)), "the wish is written down")
            process.send_signal(signal.SIGKILL)
    finally:
        lab.start_neutron()
    container.tool("detach")
    wait_until_settled(lab, container.node)
    assert not fixed_ips(lab, container.node)
    assert container.links == {"lo"}


HOST_LOCAL = {"type": "host-local", "subnet": "10.88.0.0/24", "dataDir": f"{FOLDER}/host-local"}
BRIDGE = {"type": "bridge", "bridge": "cni7", "isGateway": True, "ipam": HOST_LOCAL}
PTP = {"type": "ptp", "ipam": HOST_LOCAL}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


@pytest.mark.parametrize("plugin", [BRIDGE, PTP], ids=["bridge", "ptp"])
def test_networks_of_others(lab: Lab, container: Container, plugin: dict[str, Any]) -> None:
    conflist = {"cniVersion": "1.0.0", "name": "others", "plugins": [plugin, PORTMAP]}
    write = f"mkdir -p {FOLDER}/net.d && cat > {FOLDER}/net.d/10-others.conflist"
    container.node.exec(["sh", "-c", write], input=json.dumps(conflist))
    told = container.tool("attach", "--network", "others", conf_dir=f"{FOLDER}/net.d")
    address = told["result"]["ips"][0]["address"].partition("/")[0]
    assert traffic.ping(container, "10.88.0.1").answered
    inside = f"nsenter --net=/proc/{container.pid}/ns/net ip"
    length = {"bridge": 24, "ptp": 24}[plugin["type"]]
    assert any(
        line.startswith(f"{inside} addr add {address}/{length} dev eth0")
        for line in told["commands"]
    )
    assert any(" type veth peer name eth0 " in line for line in told["commands"])
    container.tool("detach", "--network", "others", conf_dir="/nowhere")
    assert container.links == {"lo"}
    kept = f"ls {FOLDER}/host-local/others | grep -v -e lock -e last_reserved"
    assert not container.node.exec(["sh", "-c", kept], check=False).stdout
    container.node.exec(["ip", "link", "del", "cni7"], check=False)


def test_our_ipam_under_another_s_plugin(container: Container) -> None:
    document = {
        "cniVersion": "1.0.0",
        "name": "mixed",
        "plugins": [{"type": "ptp", "ipam": config()["ipam"]}],
    }
    write = f"mkdir -p {FOLDER} && cat > {FOLDER}/mixed.conflist"
    container.node.exec(["sh", "-c", write], input=json.dumps(document))
    container.tool("attach", "--config", f"{FOLDER}/mixed.conflist")
    assert traffic.ping(container, container.node.address).answered == 3
    container.tool("detach")
    assert not held(container.node)

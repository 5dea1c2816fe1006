"""Upstream's chained plugins behind `veth-route`: what they find in its result, and what passes.

docs/how-to/chained-plugins.md says the same in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import Pod, traffic
from tests.openstack.conftest import new_name
from tests.openstack.plugin import NETWORK, Answer, config, libcni
from tests.openstack.state import wait_for, wait_until_settled

MAC = "02:00:00:00:12:34"
SHOW_CLIENT = (
    "import socket, sys; s = socket.create_server(('', 80)); print('ready', flush=True);"
    "\nwhile True:\n c, a = s.accept(); c.sendall(a[0].encode()); c.close()"
)
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080), 20).recv(99))"


class Chain:
    """Makes pods of `node1` by a conflist of `veth-route` and further plugins."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.node: Node = lab.node("node1")
        self._stack = stack

    def pod(
        self, *plugins: dict[str, Any], first: dict[str, Any] | None = None, **args: Any
    ) -> Pod:
        """A pod of the chain; `args`: capability arguments, as the runtime gives them."""
        main = {"type": "veth-route", "ipam": config()["ipam"], **(first or {})}
        self._conflist = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [main, *plugins]}
        pod = Pod(self.node, new_name())
        self.node.exec(["ip", "netns", "add", pod.name])
        self._stack.callback(self.node.exec, ["ip", "netns", "del", pod.name], check=False)
        self._stack.callback(self.cnitool, "del", pod, args)
        self.cnitool("add", pod, args)
        self.cnitool("check", pod, args)
        return pod

    def cnitool(self, command: str, pod: Pod, args: dict[str, Any]) -> Answer:
        """The answer of a call that must succeed."""
        done = libcni(self.node, command, pod.name, self._conflist, args)
        assert done.status == 0, done
        return done


@pytest.fixture
def chain(lab: Lab) -> Iterator[Chain]:
    with ExitStack() as stack:
        stack.callback(wait_until_settled, lab, lab.node("node1"))
        yield Chain(lab, stack)


def reaches(lab: Lab, pod: Pod) -> None:
    """It exchanges packets with the world, its node, and the other VM, whoever begins."""
    for target in (lab.facts["far_address"], pod.node.address, lab.node("node2").address):
        assert traffic.ping(pod, target).answered, target
    for source in (pod.node, lab.node("node2")):
        assert traffic.ping(source, pod.address).answered, source.name


def mac(pod: Pod) -> str:
    (link,) = json.loads(pod.exec(["ip", "-j", "link", "show", "dev", "eth0"]).stdout)
    return str(link["address"])


def test_a_mac_by_tuning(lab: Lab, chain: Chain) -> None:
    pod = chain.pod({"type": "tuning", "mac": MAC})
    assert mac(pod) == MAC
    reaches(lab, pod)


def test_a_mac_by_the_runtime(lab: Lab, chain: Chain) -> None:
    pod = chain.pod(first={"capabilities": {"mac": True}}, mac=MAC)
    assert mac(pod) == MAC
    reaches(lab, pod)


def test_a_smaller_mtu_by_tuning(lab: Lab, chain: Chain) -> None:
    pod = chain.pod({"type": "tuning", "mtu": 1300})
    reaches(lab, pod)


def test_a_limited_bandwidth(lab: Lab, chain: Chain) -> None:
    rate = {"ingressRate": 10_000_000, "egressRate": 10_000_000}
    burst = {"ingressBurst": 1_000_000, "egressBurst": 1_000_000}
    reaches(lab, chain.pod({"type": "bandwidth", **rate, **burst}))


def test_routing_by_source_address(lab: Lab, chain: Chain) -> None:
    """`sbr` moves the pod's routes to a table of its own: CHECK finds them there."""
    pod = chain.pod({"type": "sbr"})
    assert traffic.ping(lab.node("node2"), pod.address).answered
    pod.exec(["ip", "route", "flush", "table", "100"])
    with pytest.raises(Exception, match=r"via 169\.254\.1\.1 dev eth0 \(pod\) is missing"):
        chain.cnitool("check", pod, {})


def test_host_ports_by_portmap_show_the_pod_its_clients_own_address(lab: Lab, chain: Chain) -> None:
    """Clients in the pod's own subnet, too: all that the pod sends passes the node."""
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    pod = chain.pod(portmap, portMappings=[mapping])
    with pod.popen(["python3", "-c", SHOW_CLIENT], stdout=-1) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == b"ready"
        try:
            client = lab.node("node2")
            seen = client.exec(["python3", "-c", ASK, pod.node.address]).stdout
            assert client.address in seen
            # Itself, by the host port: only masqueraded it gets an answer.
            assert pod.exec(["python3", "-c", ASK, pod.node.address]).stdout
        finally:
            server.terminate()


@pytest.fixture
def dropping(lab: Lab) -> Iterator[None]:
    """The node drops forwarded packets that no rule accepts."""
    node = lab.node("node1")
    node.exec(["iptables", "-P", "FORWARD", "DROP"])
    yield
    node.exec(["iptables", "-P", "FORWARD", "ACCEPT"])
    node.exec(["iptables", "-F", "FORWARD"])


def test_firewall_lets_a_pod_out_of_a_node_that_drops_and_nobody_in(
    lab: Lab, chain: Chain, dropping: None
) -> None:
    pod = chain.pod({"type": "firewall", "backend": "iptables"})
    assert traffic.ping(pod, lab.facts["far_address"]).answered
    assert not traffic.ping(lab.node("node2"), pod.address).answered
    pod.node.exec(["iptables", "-I", "FORWARD", "-o", "veth+", "-j", "ACCEPT"])
    assert traffic.ping(lab.node("node2"), pod.address).answered


def test_add_says_that_the_node_drops(lab: Lab, chain: Chain, dropping: None) -> None:
    pod = chain.pod()
    said = chain.cnitool("check", pod, {}).stderr
    assert "drops forwarded packets that no rule accepts (nftables ip filter FORWARD)" in said
    wait_for(lambda: not traffic.ping(pod, lab.facts["far_address"]).answered, "the pod is cut off")

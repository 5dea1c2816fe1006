"""Many containers of one node that are attached and detached at random, several at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import addresses
from tests.openstack.plugin import call
from tests.openstack.state import (
    fixed_ips,
    half_made,
    held,
    pod_routes,
    veths,
    wait_for,
    wait_until_settled,
)

SEED = int(os.environ.get("NEUTRON_CNI_TEST_SEED", "20260301"))


@dataclass
class Container:
    """One of the pods. `lock`: a runtime never makes two calls for one container at a time
    (CNI SPEC, section 3). `addresses`: what the last call left it with, none after DEL.
    """

    name: str
    lock: Lock = field(default_factory=Lock)
    addresses: list[str] = field(default_factory=list)

    def call(self, node: Node, command: str, document: Mapping[str, Any]) -> str:
        """Make the call; what was wrong about its answer, or nothing."""
        with self.lock:
            answer = call(node, command, self.name, document, plugin=document["type"])
            if answer.status:
                return f"{command} {self.name}: {answer.stdout} {answer.stderr}"
            if command == "DEL":
                self.addresses = []
                return ""
            given = addresses(answer.json)
            before, self.addresses = self.addresses, given
            return "" if before in ([], given) else f"{self.name}: {before} to {given}"


class Crowd:
    """`pods` containers of a node in mode `fixed-ips` that nothing else is attached on.

    `document`: the configuration. `gateway` answers pings of any pod.
    """

    def __init__(
        self,
        lab: Lab,
        node: Node,
        document: Mapping[str, Any],
        pods: int = 20,
        gateway: str = "10.10.0.1",
    ) -> None:
        self.lab, self.node, self.document, self.gateway = lab, node, document, gateway
        self.containers = [Container(f"t-many{number}") for number in range(pods)]
        for container in self.containers:
            node.exec(["ip", "netns", "add", container.name])

    def churn(self, calls: int, at_once: int, seed: int) -> None:
        """So many calls, of which ADD is twice as likely; each must succeed, and an ADD that is
        repeated give the same addresses."""
        random = Random(seed)
        drawn = [
            (random.choice(self.containers), random.choice(["ADD", "ADD", "DEL"]))
            for _ in range(calls)
        ]
        with ThreadPoolExecutor(at_once) as pool:
            wrong = list(pool.map(lambda item: self._call(*item), drawn))
        wait_until_settled(self.lab, self.node, 60)
        assert [text for text in wrong if text] == [], f"seed {seed}"

    def agree(self, said: str) -> None:
        """Neutron, the store and the kernel have what the answers said, and some of it passes."""
        lab, node = self.lab, self.node
        expected = {item.name: set(item.addresses) for item in self.containers if item.addresses}
        each = Counter(address for given in expected.values() for address in given)
        assert max(each.values()) == 1, said
        assert len(expected) >= 5, said  # or this would not have tried much
        assert held(lab, node) == expected, said
        assert fixed_ips(lab, node) == set(each), said
        routes = pod_routes(node)
        assert set(routes) == set(each), said
        wait_for(lambda: veths(node) == set(routes.values()), f"dead pods' links to go, {said}")
        assert claimed(lab, node) == each, said
        for container in self.containers:
            assert eth0(node, container.name) == set(container.addresses), (container.name, said)
        assert half_made(node) == [], said
        alive = [item for item in self.containers if item.addresses]
        for container in Random(said).sample(alive, 5):
            ping = ["ip", "netns", "exec", container.name, "ping", "-c1", "-w30", self.gateway]
            assert node.exec(ping, check=False).returncode == 0, said

    def leave(self, at_once: int) -> None:
        """DEL of all at once; nothing is left of them."""
        lab, node = self.lab, self.node
        with ThreadPoolExecutor(at_once) as pool:
            assert "".join(pool.map(lambda item: self._call(item, "DEL"), self.containers)) == ""
        wait_until_settled(lab, node, 60)
        assert (fixed_ips(lab, node), held(lab, node), pod_routes(node)) == (set(), {}, {})
        wait_for(lambda: not veths(node), "all pods' links to go")
        for container in self.containers:
            assert eth0(node, container.name) == set(), container.name

    def remove(self) -> None:
        """The namespaces go."""
        names = " ".join(item.name for item in self.containers)
        self.node.exec(["sh", "-c", f"for name in {names}; do ip netns del $name; done; true"])

    def _call(self, container: Container, command: str) -> str:
        return container.call(self.node, command, self.document)


def claimed(lab: Lab, node: Node) -> Counter[str]:
    """How often each address is claimed by a tag of the node's port."""
    tags = lab.connection().network.get_port(node.port_id).tags
    return Counter(
        tag.removeprefix("ncni:").rsplit(":", 2)[0] for tag in tags if tag.startswith("ncni:")
    )


def eth0(node: Node, netns: str) -> set[str]:
    """The addresses of eth0 in the namespace, but link-local ones; none without it."""
    words = ["ip", "-n", netns, "-o", "addr", "show", "dev", "eth0", "scope", "global"]
    shown = node.exec(words, check=False).stdout.splitlines()
    return {line.split()[3].partition("/")[0] for line in shown}

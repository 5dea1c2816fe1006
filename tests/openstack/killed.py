"""Processes of the plugins that are killed on a node, and a runtime that goes on with its work."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import edit_store
from tests.openstack.plugin import BIN
from tests.openstack.state import (
    fixed_ips,
    half_made,
    held,
    leases,
    of_pods,
    pod_routes,
    proxies,
    veths,
    wait_for,
)
from tests.reliability import tracer

IPAM = "cni-ipam-neutron"
MAIN = "veth-route"
REPORT = "/run/tracer-report"
STATE = "/var/lib/neutron-cni"
MOST = 4


@dataclass
class Scene:
    """One node, and what its runtime knows.

    `document`: the configuration. `plugins`: the one of containers with an even number, and the one
    of the others, which GC is called of, too.
    """

    lab: Lab
    node: Node
    mode: str
    document: dict[str, Any]
    rng: random.Random
    plugins: tuple[str, str] = (IPAM, MAIN)
    live: dict[str, list[str]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Containers whose ADD or DEL was killed and not repeated."""
    lines: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By plugin and command: lines to die at."""
    kills: int = 0
    by_main: int = 0
    """How many of the dead made the pod's interface."""
    number: int = 0

    def plugin(self, container: str) -> str:
        """Which one the container is attached by."""
        even, odd = self.plugins
        return even if container and container[-1] in "02468" else odd

    def call(self, command: str, container: str, line: int | None = None, **more: Any) -> int:
        """One call of the plugin, or (line) of the plugin under the tracer; its exit status."""
        plugin = self.plugin(container)
        program = [f"{BIN}/{plugin}"]
        if line is not None:
            program = [sys.executable, str(Path(tracer.__file__)), str(line), plugin]
        netns = f"/run/netns/{container}"
        done = self.node.exec(
            program,
            input=json.dumps({**self.document, **more}),
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": container,
                "CNI_NETNS": netns,
                "CNI_IFNAME": "eth0",
                "CNI_PATH": BIN,
                "TRACER_REPORT": REPORT,
            },
            check=False,
        )
        assert "Traceback" not in done.stderr
        killed = done.returncode in (-9, 137)
        self.kills += killed
        self.by_main += killed and plugin != IPAM
        if command == "ADD" and done.returncode == 0:
            given = [str(i["address"]).partition("/")[0] for i in json.loads(done.stdout)["ips"]]
            assert self.live.get(container, given) == given
            others = {a for name, held in self.live.items() if name != container for a in held}
            assert not others & set(given), f"{given} was given twice"
            self.live[container] = given
            self.unsure.discard(container)
            if plugin == IPAM:
                self._configure(container, given)
        elif command == "DEL" and done.returncode == 0:
            self.unsure.discard(container)
        assert killed or done.returncode == 0 or line is not None, done.stdout
        return -9 if killed else done.returncode

    @property
    def proxied(self) -> bool:
        """Whether the node answers ARP and ND for its pods."""
        return MAIN in self.plugins

    def add(self, dies: bool = False) -> None:
        self.number += 1
        container = f"k{self.number}"
        self.node.exec(["ip", "netns", "add", container])
        if self.call("ADD", container, self.line("ADD", container) if dies else None) != 0:
            self.unsure.add(container)

    def delete(self, container: str, line: int | None = None) -> None:
        self.live.pop(container, None)
        self.node.exec(["ip", "netns", "del", container], check=False)
        if self.call("DEL", container, line) != 0:
            self.unsure.add(container)

    def collect(self, line: int | None = None) -> None:
        """Whatever the runtime does not know of is lost."""
        for container in self.unsure:
            self.node.exec(["ip", "netns", "del", container], check=False)
        keep = [{"containerID": name, "ifname": "eth0"} for name in self.live]
        if self.call("GC", "", line, **{"cni.dev/valid-attachments": keep}) == 0:
            self.unsure.clear()

    def sweep(self, line: int) -> None:
        program = [sys.executable, tracer.__file__, str(line), "sweeper", STATE]
        done = self.node.exec(program, check=False, env={"TRACER_REPORT": REPORT})
        self.kills += done.returncode in (-9, 137)

    def measure(self) -> None:
        """Where ADD, DEL and GC of both plugins change the world, and some lines between."""
        for _ in set(self.plugins):
            self.number += 1
            container = f"k{self.number}"
            self.node.exec(["ip", "netns", "add", container])
            self._count("ADD", container)
            self._count("DEL", container)
            self.live.clear()
        self._count("GC", "", **{"cni.dev/valid-attachments": []})

    def _count(self, command: str, container: str, **more: Any) -> None:
        assert self.call(command, container, 0, **more) == 0
        total, *marks = map(int, self.node.exec(["cat", REPORT]).stdout.split())
        between = [self.rng.randrange(1, total) for _ in range(max(10, len(marks)))]
        self.lines[self.plugin(container), command] = marks * 2 + between

    def line(self, command: str, container: str) -> int:
        """Where the call is to die."""
        return self.rng.choice(self.lines[self.plugin(container), command])

    def turn(self) -> None:
        """One process dies, and the runtime goes on."""
        choice = self.rng.random()
        if choice < 0.45 and len(self.live) < MOST:
            self.add(dies=True)
        elif choice < 0.7 and self.live:
            container = self.rng.choice(sorted(self.live))
            self.delete(container, self.line("DEL", container))
        elif choice < 0.8:
            self.collect(self.line("GC", ""))
        else:
            self.sweep(self.rng.randrange(1, 1500))
        for container in sorted(self.unsure):
            follow = self.rng.randrange(3)
            alive = self.node.exec(["test", "-e", f"/run/netns/{container}"], check=False)
            if follow == 0 and alive.returncode == 0:
                self.call("ADD", container)
            elif follow == 1:
                self.delete(container)
        self.look()

    def look(self) -> None:
        """Every live container's address is in Neutron, and passes."""
        network = self.lab.connection().network
        held = {address for given in self.live.values() for address in given}
        if self.mode == "port":
            assert held <= self.reserved()
            return
        port = network.get_port(self.node.port_id)
        assert len(held) == sum(map(len, self.live.values()))
        if self.mode == "fixed-ips":
            assert held <= {item["ip_address"] for item in port.fixed_ips}
        else:
            assert held <= {item["ip_address"] for item in port.allowed_address_pairs}
            assert held <= self.reserved()

    def reserved(self) -> set[str]:
        """The addresses of this node's reserving ports."""
        ports = self.lab.connection().network.ports(tags=f"ncni-node={self.node.name}")
        return {item["ip_address"] for port in ports for item in port.fixed_ips}

    def agree(self) -> None:
        """Once nothing is under way: the store holds what lives, and the kernel has just that."""
        main = {name: given for name, given in self.live.items() if self.plugin(name) != IPAM}
        addresses = {address for given in main.values() for address in given}
        assert held(self.lab, self.node) == {name: set(given) for name, given in self.live.items()}
        routes = pod_routes(self.node)
        assert set(routes) == addresses, (routes, self.live)
        wait_for(lambda: veths(self.node) == set(routes.values()), "dead pods' links to go")
        assert proxies(self.node) == (addresses if self.proxied else set())
        for name, given in main.items():
            words = ["ip", "-n", name, "-o", "addr", "show", "dev", "eth0"]
            shown = self.node.exec(words).stdout
            assert all(f" {address}/" in shown for address in given)
        assert half_made(self.node) == []

    def left(self) -> list[str]:
        """What is there though nobody lives."""
        found = [f"row {row['state']} {row['addresses']}" for row in leases(self.lab, self.node)]
        found += [f"reserved {address}" for address in self.reserved()]
        found += of_pods(self.node)
        found += [f"proxy entry {address}" for address in proxies(self.node)]
        if self.mode != "port":
            port = self.lab.connection().network.get_port(self.node.port_id)
            found += sorted(fixed_ips(self.lab, self.node))
            found += [f"pair {i['ip_address']}" for i in port.allowed_address_pairs]
            found += [f"tag {tag}" for tag in port.tags]
        return found

    def _configure(self, container: str, addresses: list[str]) -> None:
        words = ["ip", "-n", container, "addr", "replace"]
        for address in addresses:
            self.node.exec([*words, f"{address}/32", "dev", "lo"])

    def course(self, kills: int) -> str:
        """Let so many processes die, and fail if something is left in the end; what there was."""
        self.measure()
        while self.kills < kills:
            self.turn()
        self.collect()
        self.add()
        self.add()
        self.agree()
        for container in [*self.live]:
            self.delete(container)
        # Every process has ended and Neutron has answered: nothing can come late any more.
        edit_store(self.lab, self.node, "UPDATE lease SET until = 0 WHERE state = 'released'")
        self.delete("nobody")
        wait_for(lambda: not self.left(), f"nothing left of {self.kills} kills", 60)
        return (
            f"{self.mode}: {self.kills} kills, {self.by_main} of them of {self.plugins[1]}, 0 leaks"
        )

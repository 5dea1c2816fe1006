"""Kill -9 of real plugin processes on a real Neutron: nothing leaks, nobody shares an address.

The harness of tests/unit/ipam/test_kills.py has the many kills; these few show that a real cloud,
with the sweeper at work beside, is no different. Half of the containers are `veth-route`'s, whose
kernel state must go and stay with the address. `NEUTRON_CNI_REAL_KILLS`: how many in all.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import edit_store, fresh_nodes
from tests.openstack.plugin import BIN, config
from tests.openstack.state import held, leases, pod_routes, proxies, veths, wait_for
from tests.reliability import tracer

KILLS = int(os.environ.get("NEUTRON_CNI_REAL_KILLS", "18"))
IPAM = "cni-ipam-neutron"
MAIN = "veth-route"
REPORT = "/run/tracer-report"
STATE = "/var/lib/neutron-cni"
MOST = 4
Kind = Literal["vm", "bare"]
NODES: dict[str, tuple[str, Kind]] = {
    "fixed-ips": ("tkillf", "vm"),
    "address-pairs": ("tkilla", "vm"),
    "port": ("tkillp", "bare"),
}


@dataclass
class Scene:
    """One node, and what its runtime knows."""

    lab: Lab
    node: Node
    mode: str
    rng: random.Random
    live: dict[str, list[str]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Containers whose ADD or DEL was killed and not repeated."""
    lines: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By plugin and command: lines to die at."""
    kills: int = 0
    by_main: int = 0
    """How many of the dead were `veth-route`."""
    number: int = 0

    def document(self, **more: Any) -> str:
        network = {"network": "external"} if self.mode == "port" else {}
        return json.dumps({**config("1.1.0", mode=self.mode, **network), **more})

    def plugin(self, container: str) -> str:
        """Which one the container is attached by; GC is the main plugin's."""
        return IPAM if container and container[-1] in "02468" else MAIN

    def call(self, command: str, container: str, line: int | None = None, **more: Any) -> int:
        """One call of the plugin, or (line) of the plugin under the tracer; its exit status."""
        plugin = self.plugin(container)
        program = [f"{BIN}/{plugin}"]
        if line is not None:
            program = [sys.executable, str(Path(tracer.__file__)), str(line), plugin]
        netns = f"/run/netns/{container}"
        done = self.node.exec(
            program,
            input=self.document(**more),
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
        self.by_main += killed and plugin == MAIN
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
        for self.number in (1, 2):
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
        main = {name: given for name, given in self.live.items() if self.plugin(name) == MAIN}
        addresses = {address for given in main.values() for address in given}
        assert held(self.lab, self.node) == {name: given[0] for name, given in self.live.items()}
        routes = pod_routes(self.node)
        assert set(routes) == addresses
        wait_for(lambda: veths(self.node) == set(routes.values()), "dead pods' links to go")
        assert proxies(self.node) == addresses
        for name, (address,) in main.items():
            words = ["ip", "-n", name, "-o", "addr", "show", "dev", "eth0"]
            assert f" {address}/" in self.node.exec(words).stdout

    def left(self) -> list[str]:
        """What is there though nobody lives."""
        found = [f"row {row['state']} {row['addresses']}" for row in leases(self.lab, self.node)]
        found += [f"reserved {address}" for address in self.reserved()]
        found += [f"route {address}" for address in pod_routes(self.node)]
        found += [f"link {name}" for name in veths(self.node)]
        found += [f"proxy entry {address}" for address in proxies(self.node)]
        if self.mode != "port":
            port = self.lab.connection().network.get_port(self.node.port_id)
            own = {self.node.address}
            found += [f"{i['ip_address']}" for i in port.fixed_ips if i["ip_address"] not in own]
            found += [f"pair {i['ip_address']}" for i in port.allowed_address_pairs]
            found += [f"tag {tag}" for tag in port.tags]
        return found

    def _configure(self, container: str, addresses: list[str]) -> None:
        words = ["ip", "-n", container, "addr", "replace"]
        for address in addresses:
            self.node.exec([*words, f"{address}/32", "dev", "lo"])


@pytest.mark.parametrize("mode", list(NODES))
def test_no_kill_of_a_real_process_leaks(lab: Lab, mode: str) -> None:
    name, kind = NODES[mode]
    with fresh_nodes(lab, name, kind=kind) as (node,):
        scene = Scene(lab, node, mode, random.Random(KILLS))
        scene.measure()
        while scene.kills < KILLS // len(NODES):
            scene.turn()
        scene.collect()
        scene.add()
        scene.add()
        scene.agree()
        for container in [*scene.live]:
            scene.delete(container)
        # Every process has ended and Neutron has answered: nothing can come late any more.
        edit_store(lab, node, "UPDATE lease SET until = 0 WHERE state = 'released'")
        scene.delete("nobody")
        wait_for(lambda: not scene.left(), f"nothing left of {scene.kills} kills", 60)
        print(f"{mode}: {scene.kills} kills, {scene.by_main} of them of {MAIN}, 0 leaks")

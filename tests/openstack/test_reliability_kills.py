"""Kill -9 of real plugin processes on a real Neutron: nothing leaks, nobody shares an address.

The harness of tests/unit/test_ipam_kills.py has the many kills; these few show that a real cloud,
with the sweeper at work beside, is no different. `NEUTRON_CNI_REAL_KILLS`: how many in all.
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
from tests.openstack.state import leases, wait_for
from tests.reliability import tracer

KILLS = int(os.environ.get("NEUTRON_CNI_REAL_KILLS", "42"))
IPAM = "cni-ipam-neutron"
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
    lines: dict[str, list[int]] = field(default_factory=dict)
    """By command: lines to die at."""
    kills: int = 0
    number: int = 0

    def document(self, **more: Any) -> str:
        network = {"network": "external"} if self.mode == "port" else {}
        return json.dumps({**config("1.1.0", mode=self.mode, **network), **more})

    def call(self, command: str, container: str, line: int | None = None, **more: Any) -> int:
        """One call of the plugin, or (line) of the plugin under the tracer; its exit status."""
        program = [f"{BIN}/{IPAM}"]
        if line is not None:
            program = [sys.executable, str(Path(tracer.__file__)), str(line), IPAM]
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
        if command == "ADD" and done.returncode == 0:
            given = [str(i["address"]).partition("/")[0] for i in json.loads(done.stdout)["ips"]]
            assert self.live.get(container, given) == given
            others = {a for name, held in self.live.items() if name != container for a in held}
            assert not others & set(given), f"{given} was given twice"
            self.live[container] = given
            self.unsure.discard(container)
            self._configure(container, given)
        elif command == "DEL" and done.returncode == 0:
            self.unsure.discard(container)
        assert killed or done.returncode == 0 or line is not None, done.stdout
        return -9 if killed else done.returncode

    def add(self, line: int | None = None) -> None:
        self.number += 1
        container = f"k{self.number}"
        self.node.exec(["ip", "netns", "add", container])
        if self.call("ADD", container, line) != 0:
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
        """Where ADD, DEL and GC change the world, and some lines between."""
        self.number += 1
        for command in ("ADD", "DEL", "GC"):
            container = f"k{self.number}" if command != "GC" else ""
            if command == "ADD":
                self.node.exec(["ip", "netns", "add", container])
            more: dict[str, Any] = {"cni.dev/valid-attachments": []} if command == "GC" else {}
            assert self.call(command, container, 0, **more) == 0
            total, *marks = map(int, self.node.exec(["cat", REPORT]).stdout.split())
            others = range(max(10, len(marks)))
            self.lines[command] = marks * 2 + [self.rng.randrange(1, total) for _ in others]
        self.live.clear()

    def turn(self) -> None:
        """One process dies, and the runtime goes on."""
        choice = self.rng.random()
        if choice < 0.45 and len(self.live) < MOST:
            self.add(self.rng.choice(self.lines["ADD"]))
        elif choice < 0.7 and self.live:
            self.delete(self.rng.choice(sorted(self.live)), self.rng.choice(self.lines["DEL"]))
        elif choice < 0.8:
            self.collect(self.rng.choice(self.lines["GC"]))
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

    def left(self) -> list[str]:
        """What is there though nobody lives."""
        found = [f"row {row['state']} {row['addresses']}" for row in leases(self.lab, self.node)]
        found += [f"reserved {address}" for address in self.reserved()]
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
        for container in [*scene.live]:
            scene.delete(container)
        # Every process has ended and Neutron has answered: nothing can come late any more.
        edit_store(lab, node, "UPDATE lease SET until = 0 WHERE state = 'released'")
        scene.delete("nobody")
        wait_for(lambda: not scene.left(), f"nothing left of {scene.kills} kills", 60)
        print(f"{mode}: {scene.kills} kills, 0 leaks")

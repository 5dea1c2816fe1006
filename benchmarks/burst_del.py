"""`./bench burst-del`: many pods of a node end at once, as when a node is drained.

Ours: DEL of `veth-route` with addresses from Neutron; nobody waits for Neutron at DEL.
Peer: DEL of upstream's `ptp` with `host-local`, in Go and without any cloud.
Both on one node, in turns, on pods that were added before; the medians of some rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from tempfile import TemporaryFile

from benchmarks import report, scene
from neutron_cni_lab.node import Node

PEER = {
    "cniVersion": "1.0.0",
    "name": "peer",
    "type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/20"}]]},
}


def main(arguments: list[str]) -> None:
    """Run it and tell the figures."""
    parser = argparse.ArgumentParser(prog="./bench burst-del", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pods", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    own = scene.configuration({"mode": "fixed-ips"}, type="veth-route")
    ours, peer = [], []
    with scene.lab() as lab:
        node = lab.node("node1")
        scene.forget_everything(node)
        for _ in range(options.rounds):
            ours.append(_round(node, "veth-route", own, options.pods))
            peer.append(_round(node, "ptp", json.dumps(PEER), options.pods))
    report.tell(
        "burst-del",
        "seconds",
        report.median(ours),
        report.median(peer),
        options.json,
        {"pods": options.pods, "rounds": options.rounds},
    )


def _round(node: Node, plugin: str, text: str, pods: int) -> float:
    """Seconds from the first DEL's start to the last one's end; the ADDs before are not counted."""
    names = [f"bench{number}" for number in range(pods)]
    node.exec(["sh", "-c", f"for n in {' '.join(names)}; do ip netns add $n; done"])
    _all_at_once(node, plugin, text, "ADD", names)
    begun = time.monotonic()
    _all_at_once(node, plugin, text, "DEL", names)
    seconds = time.monotonic() - begun
    node.exec(["sh", "-c", f"for n in {' '.join(names)}; do ip netns del $n; done"])
    return seconds


def _all_at_once(node: Node, plugin: str, text: str, command: str, names: list[str]) -> None:
    processes = [_start(node, plugin, text, command, name) for name in names]
    for process in processes:
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{command} of {plugin} failed: {said.decode()[:500]}")


def _start(node: Node, plugin: str, text: str, command: str, name: str) -> subprocess.Popen[bytes]:
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": f"/var/run/netns/{name}",
        "CNI_PATH": scene.BIN,
    }
    with TemporaryFile() as stdin:
        stdin.write(text.encode())
        stdin.seek(0)
        return node.popen(
            [f"{scene.BIN}/{plugin}"], env=variables, stdin=stdin, stdout=subprocess.PIPE
        )

"""`./bench burst-cold`: 50 pods start at once on a node that holds no address.

Ours: 50 processes of `cni-ipam-neutron`, as a runtime would start them, on an empty store.
Peer: the straightforward sequence (one_by_one.py), 50 processes that take turns at a file lock and
add one address each.
Same node, same port, same Neutron, one after the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks import report, scene
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node

PEER = Path(__file__).with_name("one_by_one.py")

MOST_UPDATES = 4
MOST_TIME = 0.125
"""What is promised: at most so many updates of the port, and this part of the peer's time."""


def main(arguments: list[str]) -> None:
    """Run it and tell the figures; status 1 if they break the promise."""
    parser = argparse.ArgumentParser(prog="./bench burst-cold", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pods", type=int, default=50)
    options = parser.parse_args(arguments)
    with scene.lab() as lab:
        node = lab.node("node1")
        ours, updates = _ours(lab, node, options.pods)
        peer = _peer(lab, node, options.pods)
    report.tell(
        "burst-cold",
        "seconds",
        ours,
        peer,
        options.json,
        {"pods": options.pods, "port_updates": updates, "peer_port_updates": options.pods},
    )
    if updates > MOST_UPDATES:
        raise SystemExit(f"{updates} port updates: the promise is {MOST_UPDATES} at most")
    if (part := ours / peer) > MOST_TIME:
        raise SystemExit(f"{part:.3f} of the peer's time: the promise is {MOST_TIME} at most")


def _ours(lab: Lab, node: Node, pods: int) -> tuple[float, int]:
    scene.forget_everything(node)
    node.exec(["ip", "netns", "add", "bench"])
    text = scene.configuration({"mode": "fixed-ips"})
    before = len(scene.requests(lab))

    def start(number: int) -> subprocess.Popen[bytes]:
        variables = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": f"bench{number}",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": "/var/run/netns/bench",
            "CNI_PATH": scene.BIN,
        }
        with TemporaryFile() as stdin:
            stdin.write(text.encode())
            stdin.seek(0)
            plugin = [f"{scene.BIN}/cni-ipam-neutron"]
            return node.popen(plugin, env=variables, stdin=stdin, stdout=subprocess.PIPE)

    seconds = _time(start, pods)
    path = f"/ports/{node.port_id}"  # as Neutron logs it, below /v2.0
    updates = scene.requests(lab)[before:].count(("PUT", path))
    for number in range(pods):
        node.exec(
            [f"{scene.BIN}/cni-ipam-neutron"],
            input=text,
            env={
                "CNI_COMMAND": "DEL",
                "CNI_CONTAINERID": f"bench{number}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": scene.BIN,
            },
        )
    _wait_for_one_address(lab, node)
    node.exec(["ip", "netns", "del", "bench"])
    return seconds, updates


def _peer(lab: Lab, node: Node, pods: int) -> float:
    node.exec(["mkdir", "-p", "/run/one-by-one"])
    api = lab.facts["node_api_url"]

    def start(number: int) -> subprocess.Popen[bytes]:
        return node.popen(
            [sys.executable, "-I", str(PEER), api, node.port_id, f"c{number}", "/run/one-by-one"],
            stdout=subprocess.PIPE,
        )

    return _time(start, pods)


def _time(start: Callable[[int], subprocess.Popen[bytes]], pods: int) -> float:
    begun = time.monotonic()
    processes = [start(number) for number in range(pods)]
    outputs = [process.communicate()[0] for process in processes]
    seconds = time.monotonic() - begun
    failed = [out for process, out in zip(processes, outputs, strict=True) if process.returncode]
    if failed:
        raise SystemExit(f"{len(failed)} of {pods} failed: {failed[0].decode()[:500]}")
    if len(set(outputs)) != pods:
        raise SystemExit("an address was given twice")
    return seconds


def _wait_for_one_address(lab: Lab, node: Node) -> None:
    """Until the sweeper has given everything back: the peer starts where we started."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if len(lab.connection().network.get_port(node.port_id).fixed_ips) == 1:
            return
        time.sleep(0.2)
    raise SystemExit("our addresses did not go back within 60 s")

"""`./bench nic`: TCP by a pod's own NIC, and what its ADD and DEL take.

Ours: a pod of `host-device-plus` with `nova-interface`, on a VM with a kernel of its own.
Peer: that VM itself, by the NIC that it was made with.
Both send to another node and get from it, in turns, for some rounds, each with a new pod. The
fastest transfer of each counts, as whatever else this machine does only makes them slower; of
seconds the median. The lab's Nova is a real one, but its hypervisor is the lab's.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks import report, scene
from neutron_cni_lab.demo import have_nic_lab, traffic
from neutron_cni_lab.demo.nic_scene import PATIENCE, NicScene
from neutron_cni_lab.demo.pod import Pod
from neutron_cni_lab.node import Node
from neutron_cni_lab.processes import wait_until
from neutron_cni_lab.progress import Progress

Figures = dict[str, list[float]]

MEGABITS = ("ours", "peer", "received_ours", "received_peer")
"""What is sent from each, and what is received there."""

SECONDS = ("add", "add_of_nova", "del", "until_gone", "detach_of_nova")
"""What is measured besides: of ADD and DEL (the main plugin's with `veth-host` chained behind), of
all from DEL on until NIC and port are gone, and what of it Nova took."""


def main(arguments: list[str]) -> None:
    """Run it and tell the figures."""
    parser = argparse.ArgumentParser(prog="./bench nic", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="a pod each")
    parser.add_argument("--turns", type=int, default=5, help="of each round")
    parser.add_argument("--mebibytes", type=int, default=32, help="of each transfer")
    options = parser.parse_args(arguments)
    figures: Figures = defaultdict(list)
    with scene.lab(lambda lab: have_nic_lab(lab, Progress(quiet=True))) as lab:
        place = NicScene(lab, ("node1", "node2"))
        place.configure(str(lab.facts["security_group_id"]))
        for _ in range(options.rounds):
            _round(place, figures, options.turns, options.mebibytes << 20)
    ours, peer, *received = (max(figures[key]) for key in MEGABITS)
    more = dict(zip(MEGABITS[2:], received, strict=True))
    more["received_ratio"] = received[0] / received[1]
    more |= {f"{key}_seconds": report.median(figures[key]) for key in SECONDS}
    more |= {key: getattr(options, key) for key in ("rounds", "turns", "mebibytes")}
    report.tell("nic", "Mbit/s", ours, peer, options.json, more)


def _round(place: NicScene, figures: Figures, turns: int, size: int) -> None:
    """A pod's life: its ADD, the transfers, its DEL, and what comes of that."""
    node, pod = place.node1, place.pod1
    node.exec(["ip", "netns", "add", pod.name])
    before = len(_nova_seconds(place))
    figures["add"].append(_seconds(pod.add))
    figures["add_of_nova"].append(sum(_nova_seconds(place)[before:]))
    ends: list[tuple[str, Pod | Node]] = [("ours", pod), ("peer", node)]
    for _ in range(turns):
        ends.reverse()  # Neither is always the first, who may find the machine busier.
        for key, end in ends:
            figures[key].append(_megabits(end, place.node2, size))
            figures[f"received_{key}"].append(_megabits(place.node2, end, size))
    port = place.port_id(pod)
    with ThreadPoolExecutor() as pool:
        watch = pool.submit(_seconds_of_detach, place, port)
        began = time.monotonic()
        figures["del"].append(_seconds(pod.detach))
        place.wait_detached()
        figures["until_gone"].append(time.monotonic() - began)
        figures["detach_of_nova"].append(watch.result())
    node.exec(["ip", "netns", "del", pod.name])


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _megabits(source: Pod | Node, receiver: Pod | Node, size: int) -> float:
    seen = traffic.transfer(source, receiver, receiver.address, size)
    if not seen.intact:
        raise SystemExit(f"{len(seen.damaged)} parts of {seen.size} bytes came damaged")
    return seen.megabits


def _nova_seconds(place: NicScene) -> list[float]:
    """What each request of the node's server took, so far: microseconds in Nova's log."""
    lines = place.lab.nova.requests_log.read_text().splitlines()
    return [int(line.split()[-1]) / 1e6 for line in lines if place.node1.server_id in line]


def _seconds_of_detach(place: NicScene, port_id: str) -> float:
    """From Nova's answer to the detach, with what that took, until the port is nobody's.

    Whoever gave the port back deletes it half a second later at most: it may be gone, too.
    """
    path = f"DELETE /servers/{place.node1.server_id}/os-interface/{port_id} 202 "
    log, calls = place.lab.nova.requests_log, place.lab.connection().network
    wait_until(lambda: path in log.read_text(), "Nova to be asked for the detach", PATIENCE)
    answered = time.monotonic()
    asking = int(log.read_text().partition(path)[2].split()[0]) / 1e6
    wait_until(
        lambda: not any(port.device_id for port in calls.ports(id=port_id)),
        f"port {port_id} to be given back",
        PATIENCE,
    )
    return asking + time.monotonic() - answered

"""The rows of the demo's table: each measures one thing and compares it with what should be."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from neutron_cni_lab.demo import traffic
from neutron_cni_lab.demo.pod import Pod
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.demo.traces import traces
from neutron_cni_lab.switch import INTERNET_ADDRESS

_TRANSFER_BYTES = 32 << 20
_PACKETS = 3


@dataclass(frozen=True)
class Outcome:
    """Whether it was as it should be, and what was seen."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Check:
    """One row. `measure` raises `LabError` where not even that could be done."""

    what: str
    path: str
    measure: Callable[[Scene], Outcome]


def _add(scene: Scene, pod: str) -> Outcome:
    """An address that Neutron's port of this very node has now."""
    made: Pod = getattr(scene, pod)
    address = str(made.add()["ips"][0]["address"])
    ip = address.partition("/")[0]
    if ip != made.address:
        return Outcome(False, f"cnitool says {ip}, eth0 has {made.address}")
    if ip not in scene.fixed_ips(made.node):
        return Outcome(False, f"{ip} is not on Neutron's port of {made.node.name}")
    return Outcome(True, f"{ip}, on {made.node.name}'s Neutron port")


def _all_answered(ping: traffic.Ping) -> Outcome:
    return Outcome(ping.answered == ping.sent, str(ping))


def _same_node(scene: Scene) -> Outcome:
    return _all_answered(traffic.ping(scene.pod1, scene.pod2.address))


def _across_nodes(scene: Scene) -> Outcome:
    return _all_answered(traffic.ping(scene.pod1, scene.pod3.address))


def _router(scene: Scene) -> Outcome:
    return _all_answered(traffic.ping(scene.pod1, scene.gateway))


def _internet(scene: Scene) -> Outcome:
    """Through SNAT: the far end sees the router's address, not the pod's."""
    seen = traffic.transfer(scene.pod2, scene.internet, scene.far_address)
    router = scene.router_address
    if seen.source != router:
        return Outcome(False, f"seen there as {seen.source}, not as the router's {router}")
    return Outcome(True, f"seen there as {seen.source}, the router's address")


def _floating_ip_in(scene: Scene) -> Outcome:
    floating = scene.floating_ip(scene.pod1)
    seen = traffic.transfer(scene.internet, scene.pod1, floating)
    text = f"{floating} is {seen.target}, which saw {seen.source}"
    if (seen.target, seen.source) != (scene.pod1.address, INTERNET_ADDRESS):
        return Outcome(False, f"{text}; should be {scene.pod1.address} and {INTERNET_ADDRESS}")
    return Outcome(True, text)


def _floating_ip_out(scene: Scene) -> Outcome:
    floating = scene.floating_ip(scene.pod1)
    seen = traffic.transfer(scene.pod1, scene.internet, scene.far_address)
    if seen.source != floating:
        return Outcome(False, f"seen there as {seen.source}, not as the floating IP {floating}")
    return Outcome(True, f"seen there as {seen.source}, the floating IP")


def _full_mtu(scene: Scene) -> Outcome:
    """Both sides of the edge, or a path that cuts everything into pieces would pass."""
    mtu, target = scene.mtu, scene.pod3.address
    whole = traffic.ping(scene.pod1, target, size=mtu)
    larger = traffic.ping(scene.pod1, target, size=mtu + 1, count=1)
    if whole.answered != whole.sent:
        return Outcome(False, f"{mtu} bytes: {whole}; {whole.said}")
    if larger.answered:
        return Outcome(False, f"{mtu + 1} bytes passed too, in one piece")
    return Outcome(True, f"{mtu} bytes pass in one piece, {mtu + 1} do not")


def _tcp(scene: Scene) -> Outcome:
    seen = traffic.transfer(scene.pod1, scene.pod3, scene.pod3.address, _TRANSFER_BYTES)
    intact = "intact" if seen.intact else "DAMAGED"
    return Outcome(seen.intact, f"{seen.size >> 20} MiB {intact}, {seen.megabits:.0f} Mbit/s")


def _right_source(scene: Scene) -> Outcome:
    """What makes the next row worth something: this way of sending works."""
    right = scene.pod1.address
    seen = _forge(scene, [right])
    ok = seen.arrived[right] == seen.left[right] == _PACKETS
    return Outcome(ok, f"{seen.left[right]} left as {right}, {seen.arrived[right]} arrived")


def _forged_source(scene: Scene) -> Outcome:
    """From the node, as what a pod forges its own node drops (rp_filter of its link)."""
    right, forged = scene.pod1.address, scene.unused_address()
    seen = _forge(scene, [forged, right])
    left, arrived = seen.left[forged], seen.arrived[forged]
    if left != _PACKETS or seen.arrived[right] != _PACKETS:
        return Outcome(False, f"{left} left as {forged}, {seen.arrived[right]} arrived as {right}")
    text = f"{left} left as {forged}, {arrived} arrived"
    if arrived:
        return Outcome(False, f"{text}, and none should have")
    return Outcome(True, f"{text}: port security")


def _forge(scene: Scene, sources: list[str]) -> traffic.Forgery:
    return traffic.forge(
        scene.node1,
        scene.pod3.address,
        sources,
        leaving=scene.node1,
        arriving=scene.node2,
        count=_PACKETS,
    )


def _check(scene: Scene) -> Outcome:
    for pod in scene.pods:
        pod.check()
    return Outcome(True, "addresses, routes, devices are as ADD left them")


def _delete(scene: Scene) -> Outcome:
    pod = scene.passing_pod()
    pod.delete()  # One of a demo that was interrupted.
    resting = scene.resting()
    before = traces(scene.lab, pod.node)
    address = pod.add()["ips"][0]["address"].partition("/")[0]
    traffic.ping(pod, scene.gateway, count=1)
    new = traces(scene.lab, pod.node) - before
    pod.delete()
    after = scene.traces_without(pod, before)
    if f"fixed IP {address}" not in new or not any("device veth" in line for line in new):
        return Outcome(False, f"ADD left no traces to remove: {', '.join(sorted(new))}")
    if after - before or before - after - resting:
        differing = [f"+ {x}" for x in after - before] + [f"- {x}" for x in before - after]
        return Outcome(False, "; ".join(sorted(differing)))
    return Outcome(True, f"port, routes and devices as before {address}")


CHECKS = (
    *(
        Check("cnitool add", f"{node} -> {pod}", partial(_add, pod=pod))
        for node, pod in (("node1", "pod1"), ("node1", "pod2"), ("node2", "pod3"))
    ),
    Check("same node", "pod1 -> pod2", _same_node),
    Check("other node", "pod1 -> pod3", _across_nodes),
    Check("router", "pod1 -> router", _router),
    Check("internet, by SNAT", "pod2 -> internet", _internet),
    Check("floating IP, in", "internet -> pod1", _floating_ip_in),
    Check("floating IP, out", "pod1 -> internet", _floating_ip_out),
    Check("full MTU", "pod1 -> pod3", _full_mtu),
    Check("TCP", "pod1 -> pod3", _tcp),
    Check("own source", "node1 -> pod3", _right_source),
    Check("forged source", "node1 -> pod3", _forged_source),
    Check("cnitool check", "all pods", _check),
    Check("cnitool del", "node1 -> pod4", _delete),
)
"""In this order: those that come first make the pods for the others."""

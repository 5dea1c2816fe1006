"""What several demos measure: each of these one thing, compared with what should be."""

from collections.abc import Sequence

from neutron_cni_lab.demo import traffic
from neutron_cni_lab.demo.pod import Pod
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.demo.show import Outcome
from neutron_cni_lab.demo.traces import traces
from neutron_cni_lab.switch import INTERNET_ADDRESS

_TRANSFER_BYTES = 32 << 20
_PACKETS = 3


def add(scene: Scene, pod: str) -> Outcome:
    """An address that Neutron's port of this very node has now."""
    made: Pod = getattr(scene, pod)
    address = str(made.add()["ips"][0]["address"])
    ip = address.partition("/")[0]
    if ip != made.address:
        return Outcome(False, f"cnitool says {ip}, eth0 has {made.address}")
    if ip not in scene.fixed_ips(made.node):
        return Outcome(False, f"{ip} is not on Neutron's port of {made.node.name}")
    return Outcome(True, f"{ip}, on {made.node.name}'s Neutron port")


def all_answered(ping: traffic.Ping) -> Outcome:
    """Of a ping that should be answered."""
    return Outcome(ping.answered == ping.sent, str(ping))


def seen_as(who: str, seen: traffic.Transfer, wanted: str, whose: str) -> Outcome:
    """Whether the receiver `who` saw the address that it should."""
    if not seen.intact:
        return Outcome(False, f"{who} got {seen.size} bytes, damaged")
    if seen.source != wanted:
        return Outcome(False, f"{who} saw {seen.source}, not {wanted}, {whose}")
    return Outcome(True, f"{who} saw {seen.source}, {whose}")


def own_node(scene: Scene) -> Outcome:
    """From a pod with a `veth0`, by which this goes."""
    seen = traffic.transfer(scene.pod1, scene.node1, scene.node1.address)
    return seen_as("the node", seen, scene.pod1.address, "pod1's own")


def probe(scene: Scene) -> Outcome:
    """As the kubelet does it."""
    seen = traffic.transfer(scene.node1, scene.pod1, scene.pod1.address)
    return seen_as("pod1", seen, scene.node1.address, "the node's")


def router(scene: Scene) -> Outcome:
    """The pods' gateway in Neutron."""
    return all_answered(traffic.ping(scene.pod1, scene.gateway))


def internet(scene: Scene, sender: str = "pod2") -> Outcome:
    """Through SNAT: the far end sees the router's address, not the pod's.

    `sender`: a pod without a floating IP.
    """
    seen = traffic.transfer(getattr(scene, sender), scene.internet, scene.far_address)
    wanted = scene.router_address
    if seen.source != wanted:
        return Outcome(False, f"seen there as {seen.source}, not as the router's {wanted}")
    return Outcome(True, f"seen there as {seen.source}, the router's address")


def floating_ip_in(scene: Scene) -> Outcome:
    """The pod sees the client's own address."""
    floating = scene.floating_ip(scene.pod1)
    seen = traffic.transfer(scene.internet, scene.pod1, floating)
    text = f"{floating} is {seen.target}, which saw {seen.source}"
    if (seen.target, seen.source) != (scene.pod1.address, INTERNET_ADDRESS):
        return Outcome(False, f"{text}; should be {scene.pod1.address} and {INTERNET_ADDRESS}")
    return Outcome(True, text)


def floating_ip_out(scene: Scene) -> Outcome:
    """What the pod sends to the internet comes from its floating IP."""
    floating = scene.floating_ip(scene.pod1)
    seen = traffic.transfer(scene.pod1, scene.internet, scene.far_address)
    if seen.source != floating:
        return Outcome(False, f"seen there as {seen.source}, not as the floating IP {floating}")
    return Outcome(True, f"seen there as {seen.source}, the floating IP")


def full_mtu(scene: Scene, receiver: str = "pod3") -> Outcome:
    """Both sides of the edge, or a path that cuts everything into pieces would pass."""
    mtu, target = scene.mtu, getattr(scene, receiver).address
    whole = traffic.ping(scene.pod1, target, size=mtu)
    larger = traffic.ping(scene.pod1, target, size=mtu + 1, count=1)
    if whole.answered != whole.sent:
        return Outcome(False, f"{mtu} bytes: {whole}; {whole.said}")
    if larger.answered:
        return Outcome(False, f"{mtu + 1} bytes passed too, in one piece")
    return Outcome(True, f"{mtu} bytes pass in one piece, {mtu + 1} do not")


def tcp(scene: Scene, receiver: str = "pod3") -> Outcome:
    """Many bytes to another node, none lost or changed."""
    target = getattr(scene, receiver)
    seen = traffic.transfer(scene.pod1, target, target.address, _TRANSFER_BYTES)
    intact = "intact" if seen.intact else "DAMAGED"
    return Outcome(seen.intact, f"{seen.size >> 20} MiB {intact}, {seen.megabits:.0f} Mbit/s")


def right_source(scene: Scene, sender: str) -> Outcome:
    """What makes the next row worth something: this way of sending works.

    `sender`: "pod1", or "node1" for its node.
    """
    right = scene.pod1.address
    seen = _forge(scene, getattr(scene, sender), [right])
    ok = seen.arrived[right] == seen.left[right] == _PACKETS
    return Outcome(ok, f"{seen.left[right]} left as {right}, {seen.arrived[right]} arrived")


def forged_source(scene: Scene, sender: str) -> Outcome:
    """`sender` must be where nothing but port security drops it."""
    right, forged = scene.pod1.address, scene.unused_address()
    seen = _forge(scene, getattr(scene, sender), [forged, right])
    left, arrived = seen.left[forged], seen.arrived[forged]
    if left != _PACKETS or seen.arrived[right] != _PACKETS:
        return Outcome(False, f"{left} left as {forged}, {seen.arrived[right]} arrived as {right}")
    text = f"{left} left as {forged}, {arrived} arrived"
    if arrived:
        return Outcome(False, f"{text}, and none should have")
    return Outcome(True, f"{text}: port security")


def check(scene: Scene) -> Outcome:
    """CHECK of every pod, after all that was done to them."""
    for pod in scene.pods:
        pod.check()
    return Outcome(True, "addresses, routes, devices are as ADD left them")


def delete(scene: Scene) -> Outcome:
    """After DEL, Neutron and the node's kernel are as before ADD."""
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


def _forge(scene: Scene, sender: traffic.Place, sources: Sequence[str]) -> traffic.Forgery:
    return traffic.forge(
        sender,
        scene.pod3.address,
        sources,
        leaving=scene.node1,
        arriving=scene.node2,
        count=_PACKETS,
    )

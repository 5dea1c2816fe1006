"""`./demo nic`: a pod on a VM with a NIC of its own, which Nova attaches and detaches."""

import json
import time
from functools import partial

from neutron_cni_lab.demo import measures, traffic
from neutron_cni_lab.demo.nic_scene import GROUP, PATIENCE, NicScene, links
from neutron_cni_lab.demo.pod import CONF_DIR
from neutron_cni_lab.demo.show import Check, Outcome, lab_option, program, show
from neutron_cni_lab.driver import DriverName
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.nova.faults import Faults
from neutron_cni_lab.processes import wait_until
from neutron_cni_lab.progress import Progress

LAB = "nic"
"""The name of its lab when none is given: those of the other demos are left alone."""

_HOLD_SECONDS = 10.0
"""How long Nova is kept from detaching, at most, so that the NIC can be seen at home before."""


def have_nic_lab(lab: Lab, progress: Progress, driver: DriverName | None = None) -> None:
    """Have it up with a Nova, node2 on the host's kernel, and node1, a VM with its own."""
    lab.up(progress, nodes=("node2",), nova=True, driver=driver)
    with progress.step("node node1, a VM with a kernel of its own"):
        lab.add_node("node1", kernel="own")


def show_nic(lab: Lab, began: float, nodes: tuple[str, str] = ("node1", "node2")) -> bool:
    """Make the pod, print the table and what to try next; whether all was as it should be.

    `began`: when the user's wait began, in Unix seconds. The pod is on the first of `nodes`, and
    gone at the end.
    """
    scene = NicScene(lab, nodes)
    scene.begin()
    try:
        return show(checks(*nodes), scene, _what_next, began)
    finally:
        scene.end()


def _nics_before(scene: NicScene) -> Outcome:
    """Nova and the node's kernel agree."""
    attached, own = scene.attached(), str(scene.node1.facts["mac"])
    if not attached == list(links(scene.node1)) == [own]:
        return Outcome(False, f"Nova: {', '.join(attached)}; {own} alone should be there")
    return Outcome(True, f"1, its own: {own}")


def _add(scene: NicScene) -> Outcome:
    """What the chain of both plugins says is what there is."""
    result = scene.pod1.add()
    address = str(result["ips"][0]["address"]).partition("/")[0]
    if address != scene.pod1.address:
        return Outcome(False, f"cnitool says {address}, eth0 has {scene.pod1.address}")
    return Outcome(True, f"{address}, on a NIC that was not there before")


def _port(scene: NicScene) -> Outcome:
    """Neutron knows the pod as a NIC of this server's."""
    port = scene.port(scene.pod1)
    addresses = [item["ip_address"] for item in port.fixed_ips]
    if (port.device_id, addresses) != (scene.node1.server_id, [scene.pod1.address]):
        return Outcome(False, f"port {port.id} has {addresses}, device_id {port.device_id!r}")
    return Outcome(True, f"device_id is {scene.node1.name}'s server, {port.device_id[:8]}...")


def _group(scene: NicScene) -> Outcome:
    """Of the pod's port, and of no other."""
    calls = scene.lab.connection().network
    port = scene.port(scene.pod1)
    names = [calls.get_security_group(group).name for group in port.security_group_ids]
    others = [
        other.id
        for other in calls.ports()
        if other.id != port.id and set(other.security_group_ids) & set(port.security_group_ids)
    ]
    if names != [GROUP] or others:
        return Outcome(False, f"{', '.join(names) or 'none'}, and {len(others)} other ports'")
    return Outcome(True, f"`{GROUP}`, of no other port")


def _nics_now(scene: NicScene) -> Outcome:
    """Nova lists the pod's as the server's."""
    attached, mac = scene.attached(), scene.port(scene.pod1).mac_address
    wanted = sorted([str(scene.node1.facts["mac"]), mac])
    return Outcome(attached == wanted, f"{len(attached)}, its own and pod1's: {mac}")


def _nic_inside(scene: NicScene) -> Outcome:
    """The device itself: nothing of the node is left between it and the network."""
    mac = scene.port(scene.pod1).mac_address
    name = links(scene.node1, scene.pod1.name).get(mac)
    driver = scene.pod1.exec(["ethtool", "-i", "eth0"]).stdout.splitlines()[0]
    if name != "eth0" or mac in links(scene.node1):
        return Outcome(False, f"{mac} is {name or 'not'} in the pod; node1: {links(scene.node1)}")
    return Outcome(True, f"eth0 is {mac}, {driver}")


def _closed(scene: NicScene) -> Outcome:
    """The pod gets out, as the row before has shown, so it is the group that lets nobody in."""
    ping = traffic.ping(scene.node2, scene.pod1.address)
    return Outcome(ping.answered == 0, f"{ping}: the group has no rule")


def _opened(scene: NicScene) -> Outcome:
    """From the moment of the rule's making on."""
    scene.open_group()
    began = time.monotonic()
    wait_until(
        lambda: traffic.ping(scene.node2, scene.pod1.address, count=1).answered == 1,
        "an answer through the opened group",
        PATIENCE,
    )
    seconds = time.monotonic() - began
    ping = traffic.ping(scene.node2, scene.pod1.address)
    text = f"{ping.answered} of {ping.sent} pings answered, {seconds:.1f} s after the rule"
    return Outcome(ping.answered == ping.sent, text)


def _to_other_node(scene: NicScene) -> Outcome:
    seen = traffic.transfer(scene.pod1, scene.node2, scene.node2.address)
    return measures.seen_as(scene.node2.name, seen, scene.pod1.address, "pod1's own")


def _from_other_node(scene: NicScene) -> Outcome:
    seen = traffic.transfer(scene.node2, scene.pod1, scene.pod1.address)
    return measures.seen_as("pod1", seen, scene.node2.address, f"{scene.node2.name}'s own")


def _own_node(scene: NicScene) -> Outcome:
    """The node would be reached by the network, too: so the way is looked at."""
    words = ["ip", "-j", "route", "get", scene.node1.address]
    way = json.loads(scene.pod1.exec(words).stdout)[0]["dev"]
    if way != "veth0":
        return Outcome(False, f"the way to {scene.node1.name} is {way}, not veth0")
    outcome = measures.own_node(scene)
    return Outcome(outcome.ok, f"by veth0: {outcome.text}")


def _delete(scene: NicScene) -> Outcome:
    """DEL waits for no cloud: the NIC is at home when it is over, and goes after that."""
    mac = scene.port(scene.pod1).mac_address
    scene.delete_floating_ip()
    with scene.lab.nova.ordered(Faults(detach_seconds=_HOLD_SECONDS)):
        scene.pod1.delete()
        home = links(scene.node1).get(mac)
    if home is None:
        return Outcome(False, f"{mac} is not among {scene.node1.name}'s links")
    return Outcome(True, f"{mac} is home, as {home}")


def _gone(scene: NicScene) -> Outcome:
    """Nova's list, node1's links and Neutron's ports."""
    scene.wait_detached()
    return Outcome(True, "NIC detached, port deleted")


def _as_before(scene: NicScene) -> Outcome:
    """Nothing that was not there, and all that was."""
    scene.end()
    after = scene.everything()
    if after != scene.before:
        differing = [f"+ {line}" for line in after - scene.before]
        differing += [f"- {line}" for line in scene.before - after]
        return Outcome(False, "; ".join(sorted(differing)))
    return Outcome(True, "NICs, ports, routes, groups are as they were")


def checks(node1: str, node2: str) -> tuple[Check[NicScene], ...]:
    """In this order: each works with what those before it have made."""
    return (
        Check("server's NICs", f"Nova, {node1}", _nics_before),
        Check("cnitool add", f"{node1} -> pod1", _add),
        Check("pod's port", "Neutron", _port),
        Check("its security group", "Neutron", _group),
        Check("server's NICs", "Nova", _nics_now),
        Check("NIC in the pod", "pod1", _nic_inside),
        Check("router", "pod1 -> router", measures.router),
        Check("group closed", f"{node2} -> pod1", _closed),
        Check("group with a rule", f"{node2} -> pod1", _opened),
        Check("other node, in", f"{node2} -> pod1", _from_other_node),
        Check("other node, out", f"pod1 -> {node2}", _to_other_node),
        Check("own node", f"pod1 -> {node1}", _own_node),
        Check("probe", f"{node1} -> pod1", measures.probe),
        Check("internet, by SNAT", "pod1 -> internet", partial(measures.internet, sender="pod1")),
        Check("floating IP, in", "internet -> pod1", measures.floating_ip_in),
        Check("floating IP, out", "pod1 -> internet", measures.floating_ip_out),
        Check("full MTU", f"pod1 -> {node2}", partial(measures.full_mtu, receiver="node2")),
        Check("TCP", f"pod1 -> {node2}", partial(measures.tcp, receiver="node2")),
        Check("cnitool check", "pod1", measures.check),
        Check("cnitool del", f"pod1 -> {node1}", _delete),
        Check("NIC and port gone", "Nova, Neutron", _gone),
        Check("nothing left", f"{node1}, Neutron", _as_before),
    )


def _what_next(scene: NicScene) -> str:
    lab = scene.lab
    command, option = program(), lab_option(lab)
    node = f"{command} lab exec{option} {scene.node1.name} --"
    add = f"{node} env CNI_PATH=/opt/cni/bin cnitool"
    ports = f"{lab.facts['api_url']}/v2.0/ports?device_id={scene.node1.server_id}"
    return f"""
Left running, without the pod:
  {scene.node1.name} {scene.node1.address}: a VM with a kernel of its own, a server of Nova's
  {scene.node2.name} {scene.node2.address}: a node on this machine's kernel

A pod of your own, open to all:
  {node} cat {CONF_DIR}/{scene.conflist}
  {node} ip netns add mine
  {add} add {scene.network} /run/netns/mine
  {node} ip -br link
  {node} ip netns exec mine ip -d link
  {node} ip netns exec mine ip route
  {node} ip netns exec mine ping -c3 {scene.far_address}
  {node} neutron-cni leases
  curl -s '{ports}&fields=name&fields=mac_address'
  {add} check {scene.network} /run/netns/mine
  {add} del {scene.network} /run/netns/mine

`{command} lab status{option}` shows the parts, `{command} lab down{option}` removes all of it."""

"""`./demo ipvlan`: pods of neutron-ipvlan, on two VMs with kernels of their own."""

import json
from functools import partial
from typing import Any

from neutron_cni_lab.demo import measures, traffic
from neutron_cni_lab.demo.pod import CONF_DIR, Pod
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.demo.services import translated
from neutron_cni_lab.demo.show import Check, Outcome, lab_option, program, show
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node

LAB = "ipvlan"
"""The name of its lab when none is given: that of `./demo` is left alone."""

SERVICES = "10.96.0.0/12"
_SERVICE = ("10.96.0.10", 80)
_NODE_PORT = 30080
_PORT = 8080
"""The TCP port of every backend."""

_METADATA = "http://169.254.169.254/openstack/latest/network_data.json"


class IpvlanScene(Scene):
    """The scene on nodes that have a CNI network `ipvlan`, too."""

    network = "ipvlan"
    conflist = "20-ipvlan.conflist"

    def install(self) -> None:
        """Have that network on both nodes, by the command that an operator uses."""
        words = ["neutron-cni", "install", "--conf-dir", CONF_DIR, "--conf-name", self.conflist]
        words += ["--network", self.network, "--plugin", "neutron-ipvlan", "--cloud", "lab"]
        words += ["--subnet", self._subnet.name, "--service-cidr", SERVICES]
        for node in (self.node1, self.node2):
            node.exec(words)


def show_ipvlan(lab: Lab, began: float, nodes: tuple[str, str] = ("node1", "node2")) -> bool:
    """Make the pods, print the table and what to try next; whether all was as it should be.

    `began`: when the user's wait began, in Unix seconds. `nodes` have kernels of their own.
    """
    scene = IpvlanScene(lab, nodes)
    scene.install()
    return show(_checks(*nodes), scene, _what_next, began)


def _add(scene: Scene, pod: str) -> Outcome:
    """On Neutron's port, and by a child of the VM's NIC."""
    outcome = measures.add(scene, pod)
    made: Pod = getattr(scene, pod)
    link = _link(made)
    kind = link.get("linkinfo", {}).get("info_kind")
    mode = link.get("linkinfo", {}).get("info_data", {}).get("mode")
    parent = _nic(made.node)
    is_child = (kind, link.get("link_index")) == ("ipvlan", parent["ifindex"])
    if not is_child or link["address"] != parent["address"]:
        return Outcome(False, f"{outcome.text}; eth0 is {kind or 'a veth'}, no child of the NIC")
    if not outcome.ok or mode != "l2":
        return Outcome(False, f"{outcome.text}; mode {mode}")
    return Outcome(True, f"{made.address} on {made.node.name}'s port, ipvlan of its NIC")


def _link(pod: Pod) -> dict[str, Any]:
    shown = pod.exec(["ip", "-d", "-j", "link", "show", "dev", "eth0"]).stdout
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def _nic(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.exec(["ip", "-j", "link", "show", "eth0"]).stdout)[0]
    return found


def _pod(scene: Scene, receiver: str) -> Outcome:
    pod: Pod = getattr(scene, receiver)
    seen = traffic.transfer(scene.pod1, pod, pod.address)
    return measures.seen_as(receiver, seen, scene.pod1.address, "pod1's own")


def _service(scene: Scene, backend: str) -> Outcome:
    """pod1 is the client. One backend answers it by the node, as both have a leg there; from
    elsewhere an answer would pass the node by, so that one has to see the node."""
    pod: Pod = getattr(scene, backend)
    with translated(scene.node1, _SERVICE, (pod.address, _PORT)):
        seen = traffic.transfer(scene.pod1, pod, _SERVICE[0], port=_SERVICE[1], listen=_PORT)
    wanted, whose = scene.node1.address, "the node's"
    if pod is scene.pod2:
        wanted, whose = scene.pod1.address, "pod1's own"
    return measures.seen_as(f"{_SERVICE[0]}: {backend}", seen, wanted, whose)


def _node_port(scene: Scene) -> Outcome:
    """Policy Local: the backend sees the client, and its answer goes back by the node all the same
    (the client, on the same subnet, would not know it otherwise)."""
    pod, target = scene.pod1, (scene.node1.address, _NODE_PORT)
    with translated(scene.node1, target, (pod.address, _PORT)):
        seen = traffic.transfer(scene.node2, pod, target[0], port=_NODE_PORT, listen=_PORT)
    return measures.seen_as(f":{_NODE_PORT}: pod1", seen, scene.node2.address, "the client's own")


def _metadata(scene: Scene) -> Outcome:
    """The answer is what Nova's metadata say of the VM: its port, by its id."""
    done = scene.pod1.exec(["curl", "-sS", "-m", "10", _METADATA], check=False)
    if scene.node1.port_id not in done.stdout:
        said = (done.stderr + done.stdout).strip()[:200]
        return Outcome(False, f"said {said!r}, which does not name the VM's port")
    return Outcome(True, f"told of the VM's port {scene.node1.port_id[:8]}...")


def _checks(node1: str, node2: str) -> tuple[Check[Scene], ...]:
    """In this order: those that come first make the pods for the others."""
    return (
        *(
            Check("cnitool add", f"{node} -> {pod}", partial(_add, pod=pod))
            for node, pod in ((node1, "pod1"), (node1, "pod2"), (node2, "pod3"))
        ),
        Check("router", "pod1 -> router", measures.router),
        Check("same node", "pod1 -> pod2", partial(_pod, receiver="pod2")),
        Check("other node", "pod1 -> pod3", partial(_pod, receiver="pod3")),
        Check("internet, by SNAT", "pod2 -> internet", measures.internet),
        Check("own node", f"pod1 -> {node1}", measures.own_node),
        Check("probe", f"{node1} -> pod1", measures.probe),
        Check("service, same node", "pod1 -> service", partial(_service, backend="pod2")),
        Check("service, other node", "pod1 -> service", partial(_service, backend="pod3")),
        Check("service, itself", "pod1 -> service", partial(_service, backend="pod1")),
        Check("node port, Local", f"{node2} -> {node1}", _node_port),
        Check("metadata", "pod1 -> Nova", _metadata),
        Check("floating IP, in", "internet -> pod1", measures.floating_ip_in),
        Check("floating IP, out", "pod1 -> internet", measures.floating_ip_out),
        Check("full MTU", "pod1 -> pod3", measures.full_mtu),
        Check("TCP", "pod1 -> pod3", measures.tcp),
        # From the pod itself: what it sends passes the node's rp_filter by.
        Check("own source", "pod1 -> pod3", partial(measures.right_source, sender="pod1")),
        Check("forged source", "pod1 -> pod3", partial(measures.forged_source, sender="pod1")),
        Check("cnitool check", "all pods", measures.check),
        Check("cnitool del", f"{node1} -> pod4", measures.delete),
    )


def _what_next(scene: Scene) -> str:
    lab = scene.lab
    command, option = program(), lab_option(lab)
    node1, node2 = scene.node1.name, scene.node2.name
    node = f"{command} lab exec{option} {node1} --"
    port = f"{lab.facts['api_url']}/v2.0/ports/{scene.node1.port_id}"
    floating = scene.floating_ip(scene.pod1)
    pods = {pod.name: pod.address for pod in scene.pods}
    add = f"{node} env CNI_PATH=/opt/cni/bin cnitool"
    return f"""
Left running, as VMs with kernels of their own:
  {node1} {scene.node1.address}: pod1 {pods["pod1"]} (floating IP {floating}), pod2 {pods["pod2"]}
  {node2} {scene.node2.address}: pod3 {pods["pod3"]}

Try by hand:
  {node} cat {CONF_DIR}/{scene.conflist}
  {node} ip netns exec pod1 ip -d link
  {node} ip netns exec pod1 ip route
  {node} ip netns exec pod1 iptables-legacy -t mangle -S
  {node} ip netns exec pod1 ping -c3 {pods["pod3"]}
  {command} lab exec{option} internet -- ping -c3 {floating}
  curl -s '{port}?fields=fixed_ips'

A pod of your own; after `del` its address rests 30 s on the port, then Neutron has it back:
  {node} ip netns add mine
  {add} add {scene.network} /run/netns/mine
  {node} ip netns exec mine ping -c3 {scene.far_address}
  {add} check {scene.network} /run/netns/mine
  {add} del {scene.network} /run/netns/mine

`{command} lab status{option}` shows the parts, `{command} lab down{option}` removes all of it."""

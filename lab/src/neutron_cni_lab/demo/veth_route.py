"""`./demo`: pods of veth-route, on two nodes that share this machine's kernel."""

from functools import partial

from neutron_cni_lab.demo import measures, traffic
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.demo.show import Check, Outcome, lab_option, program, show
from neutron_cni_lab.lab import Lab


def show_veth_route(lab: Lab, began: float) -> bool:
    """Make the pods, print the table and what to try next; whether all was as it should be.

    `began`: when the user's wait began, in Unix seconds.
    """
    return show(CHECKS, Scene(lab), _what_next, began)


def _same_node(scene: Scene) -> Outcome:
    return measures.all_answered(traffic.ping(scene.pod1, scene.pod2.address))


def _across_nodes(scene: Scene) -> Outcome:
    return measures.all_answered(traffic.ping(scene.pod1, scene.pod3.address))


def _what_next(scene: Scene) -> str:
    lab = scene.lab
    command, option = program(), lab_option(lab)
    node = f"{command} lab exec{option} node1 --"
    port = f"{lab.facts['api_url']}/v2.0/ports/{scene.node1.port_id}"
    floating = scene.floating_ip(scene.pod1)
    pods = {pod.name: pod.address for pod in scene.pods}
    return f"""
Left running:
  node1 {scene.node1.address}: pod1 {pods["pod1"]} (floating IP {floating}), pod2 {pods["pod2"]}
  node2 {scene.node2.address}: pod3 {pods["pod3"]}

Try by hand:
  {node} ip route
  {node} ip netns exec pod1 ip route
  {node} ip netns exec pod1 ping -c3 {pods["pod3"]}
  {command} lab exec{option} internet -- ping -c3 {floating}
  curl -s '{port}?fields=fixed_ips'

A pod of your own; after `del` its address rests 30 s on the port, then Neutron has it back:
  {node} ip netns add mine
  {node} env CNI_PATH=/opt/cni/bin cnitool add neutron /run/netns/mine
  {node} ip netns exec mine ping -c3 {scene.far_address}
  {node} env CNI_PATH=/opt/cni/bin cnitool check neutron /run/netns/mine
  {node} env CNI_PATH=/opt/cni/bin cnitool del neutron /run/netns/mine

`{command} lab status{option}` shows the parts, `{command} lab down{option}` removes all of it."""


CHECKS = (
    *(
        Check("cnitool add", f"{node} -> {pod}", partial(measures.add, pod=pod))
        for node, pod in (("node1", "pod1"), ("node1", "pod2"), ("node2", "pod3"))
    ),
    Check("same node", "pod1 -> pod2", _same_node),
    Check("other node", "pod1 -> pod3", _across_nodes),
    Check("router", "pod1 -> router", measures.router),
    Check("internet, by SNAT", "pod2 -> internet", measures.internet),
    Check("floating IP, in", "internet -> pod1", measures.floating_ip_in),
    Check("floating IP, out", "pod1 -> internet", measures.floating_ip_out),
    Check("full MTU", "pod1 -> pod3", measures.full_mtu),
    Check("TCP", "pod1 -> pod3", measures.tcp),
    # From the node, as what a pod forges its own node drops (rp_filter of its link).
    Check("own source", "node1 -> pod3", partial(measures.right_source, sender="node1")),
    Check("forged source", "node1 -> pod3", partial(measures.forged_source, sender="node1")),
    Check("cnitool check", "all pods", measures.check),
    Check("cnitool del", "node1 -> pod4", measures.delete),
)
"""In this order: those that come first make the pods for the others."""

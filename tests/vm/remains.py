"""What pods with two legs leave: nothing, neither in their namespaces nor on their node."""

from __future__ import annotations

from neutron_cni_lab import Lab, Node
from tests.openstack.state import fixed_ips, held, of_pods, outputs, wait_for

_INSIDE = """
ip -o link | grep -v " lo:"
ip rule; ip -6 rule
iptables-legacy-save; ip6tables-legacy-save
"""
_USUAL_RULES = ("from all lookup local", "from all lookup main", "from all lookup default")


def nothing_left(lab: Lab, node: Node, netns: str = "") -> None:
    """Fails if the node has a pod, or its port an address for one, or if there is more in the
    namespace of that name than in a new one.

    Rows of addresses that are back in Neutron may be in the store still, until a second look.
    """
    assert held(lab, node) == {}
    wait_for(lambda: not _on_port(lab, node), "the port to be as before", 60)
    wait_for(lambda: not of_pods(node), "the pods' links and routes to go")
    if netns:
        shown = outputs(node, {"inside": f"ip netns exec {netns} sh -c '{_INSIDE}'"})["inside"]
        lines = [line for line in shown.splitlines() if not line.startswith("#")]
        assert [x for x in lines if not x.endswith(_USUAL_RULES) and not _is_empty_table(x)] == []


def _on_port(lab: Lab, node: Node) -> set[str]:
    tags = lab.connection().network.get_port(node.port_id).tags
    return fixed_ips(lab, node) | {tag for tag in tags if tag.startswith("ncni")}


def _is_empty_table(line: str) -> bool:
    return (line.startswith(("*", ":")) and "ncni" not in line) or line == "COMMIT"

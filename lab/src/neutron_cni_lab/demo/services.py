"""A Kubernetes service on a node: the rules that kube-proxy would make, by iptables-legacy."""

from collections.abc import Iterator
from contextlib import contextmanager

from neutron_cni_lab.node import Node

_MASQUERADED = "0x4000"
"""The mark by which kube-proxy masquerades."""


@contextmanager
def translated(
    node: Node, target: tuple[str, int], backend: tuple[str, int], *, hidden: bool = False
) -> Iterator[None]:
    """What comes to `node`, or from it, for `target` goes to `backend`: addresses and TCP ports.

    A backend that reaches itself so sees the node, as does, with `hidden`, who is reached by
    whomever: that is a node port of policy Cluster, without it one of policy Local.
    """
    address, port = backend
    to = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    hide = ["-j", "MASQUERADE"]
    which = ["-d", target[0], "-p", "tcp", "--dport", str(target[1])]
    rules = [
        *(
            [chain, *which, "-j", "MARK", "--or-mark", _MASQUERADED]
            for chain in ("PREROUTING", "OUTPUT")
            if hidden
        ),
        ["PREROUTING", *which, "-j", "DNAT", "--to-destination", to],
        ["OUTPUT", *which, "-j", "DNAT", "--to-destination", to],
        ["POSTROUTING", "-m", "mark", "--mark", f"{_MASQUERADED}/{_MASQUERADED}", *hide],
        ["POSTROUTING", "-s", address, "-d", address, *hide],
    ]
    program = "ip6tables-legacy" if ":" in address else "iptables-legacy"
    try:
        for rule in rules:
            node.exec([program, "-w", "-t", "nat", "-A", *rule])
        yield
    finally:
        for rule in rules:
            node.exec([program, "-w", "-t", "nat", "-D", *rule], check=False)

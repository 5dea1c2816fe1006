"""Whether all network namespaces of this node can be seen from here: what is not seen may live.

In a container that has namespaces of its own, live pods look as if they were gone. Every ADD notes
which namespaces the runtime has us run in; there, and in the first pid namespace of the machine,
all processes can be seen. By them the mounts that hold names of network namespaces: only those of
processes in our own network namespace, so this must be the runtime's. Before the first ADD (right
after an upgrade, or when the store was lost) it must be that of the machine's first process.
"""

from __future__ import annotations

from neutron_cni.ipam import node
from neutron_cni.ipam.service import VIEW
from neutron_cni.store import Store
from neutron_cni.store.sandbox import own_view

FIRST_PID_NAMESPACE = "4026531836"
"""Its inode on every machine (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""


def blind_spot(store: Store) -> str:
    """Why pods may live that can't be seen from here, in a sentence; empty where all can be."""
    ours, runtimes = _parts(own_view()), _parts(store.fact(VIEW) or "")
    if ours["pid"] not in (FIRST_PID_NAMESPACE, runtimes.get("pid")):
        return "this process has another pid namespace than the node, and sees no pod's processes"
    if not runtimes:
        return _blind_before_an_add(ours["net"])
    if ours["net"] != runtimes["net"]:
        return "this process has another network namespace than the node, and sees no pod's link"
    mounts = runtimes["mnt"]
    if mounts != ours["mnt"] and int(mounts) not in node.mount_namespaces():
        return "no process is where the runtime had its mounts at the last ADD: does it run?"
    return ""


def _blind_before_an_add(net: str) -> str:
    """The same while nobody knows yet where the runtime is, which has the node's network."""
    first = node.network_of_first_process()
    if not first:
        return "no ADD has told where the runtime is, and /proc/1/ns/net can't be read"
    if int(net) != first:
        return "this process has another network namespace than process 1, and sees no pod's link"
    return ""


def _parts(view: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in view.split())
    return {kind: inode for kind, _, inode in pairs}

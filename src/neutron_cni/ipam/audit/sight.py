"""Whether all network namespaces of this node can be seen from here: what is not seen may live.

In a container that has namespaces of its own, live pods look as if they were gone. Every ADD notes
which namespaces the runtime has us run in; there, and in the first pid namespace of the machine,
all processes can be seen, and by them all mounts that hold names of network namespaces.
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
        return ""
    if ours["net"] != runtimes["net"]:
        return "this process has another network namespace than the node, and sees no pod's link"
    mounts = runtimes["mnt"]
    if mounts != ours["mnt"] and int(mounts) not in node.mount_namespaces():
        return "no process is where the runtime had its mounts at the last ADD: does it run?"
    return ""


def _parts(view: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in view.split())
    return {kind: inode for kind, _, inode in pairs}

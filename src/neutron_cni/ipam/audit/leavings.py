"""What a node that is gone left in Neutron: its reserving ports, found by their tags.

(In mode `fixed-ips` the addresses were on the VM's own port, which went with the VM.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher

from neutron_cni.ipam import absence
from neutron_cni.ipam.modes.marks import is_nic
from neutron_cni.ipam.modes.reserving_port import nodes_with_ports, parents, ports_of_node
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.values.deadline import Deadline

MIN_AGE_SECONDS = 300.0
"""Younger ports are never touched: their node may only just have come."""

CALL_SECONDS = 600.0
"""What all calls of Neutron may take together."""

NodeKnown = Callable[[str], bool]
"""Whether the Kubernetes API server has a node of that name. Raises CniError."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A port of the node's; `keep` says why it must stay, empty when it may go."""

    port: Port
    keep: str

    @property
    def address(self) -> str:
        """The port's addresses as one text: "10.0.0.5, fd00::5"."""
        return ", ".join(str(item.address) for item in self.port.fixed_ips)


class Leavings:
    """What one node left in one cloud; to be closed. Every other method raises CniError."""

    def __init__(self, cloud: str | None, clouds_file: str | None) -> None:
        self._neutron = Neutron.connect(cloud, clouds_file, Deadline.after(CALL_SECONDS))

    def find(self, node: str, cluster: str, install: str, node_known: NodeKnown) -> list[Leaving]:
        """Every reserving port tagged for `node`, and what to do.

        Of `cluster` and of the installation `install` only, where they are not empty.

        A port may go only when nobody knows its node any more: not the API server, and not Nova,
        whose VM still has the parent port.
        """
        known = node_known(node)
        found = ports_of_node(self._neutron, node, cluster, install)
        seen: dict[str, bool] = {}
        return [Leaving(port, _why_keep(self._neutron, port, node, known, seen)) for port in found]

    def nodes_seen(self, like: str, cluster: str) -> list[str]:
        """Names of the nodes that have such a port, the most like `like` first."""
        names = nodes_with_ports(self._neutron, cluster)
        return sorted(names, key=lambda name: (-SequenceMatcher(None, like, name).ratio(), name))

    def remove(self, leaving: Leaving) -> None:
        """Delete the port; of one that is gone: nothing."""
        self._neutron.delete_port(leaving.port.id)

    def close(self) -> None:
        """End the connections to the cloud."""
        self._neutron.close()


def _why_keep(neutron: Neutron, port: Port, node: str, known: bool, seen: dict[str, bool]) -> str:
    if port.created_at is None:
        return "Neutron does not tell its age"
    age = (datetime.now(UTC) - port.created_at.astimezone(UTC)).total_seconds()
    if age < MIN_AGE_SECONDS:
        return f"made {age:.0f} s ago, less than {MIN_AGE_SECONDS:.0f}"
    if known:
        return f"the API server still knows node {node}"
    if is_nic(port) and port.device_id:
        return (
            f"server {port.device_id} still has it as a NIC; if no pod does: openstack server "
            f"remove port {port.device_id} {port.id}"
        )
    for parent in parents(port):
        if parent not in seen:
            seen[parent] = _exists(neutron, parent)
        if seen[parent]:
            return f"the VM's port {parent} still exists"
    return ""


def _exists(neutron: Neutron, port_id: str) -> bool:
    """Whether one of two looks shows the port: the pods of a VM that lives keep theirs.

    Without the time for a second look it exists.
    """
    if absence.read(neutron, port_id) is not None or not absence.pause(neutron.deadline):
        return True
    return absence.read(neutron, port_id) is not None

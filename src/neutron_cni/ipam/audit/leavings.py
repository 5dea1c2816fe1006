"""What a node that is gone left in Neutron: its reserving ports, found by their tags.

(In mode `fixed-ips` the addresses were on the VM's own port, which went with the VM.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any

from neutron_cni import files
from neutron_cni.ipam import absence
from neutron_cni.ipam.modes.reserving_port import nodes_with_ports, parents, ports_of_node
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

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
    """What one node left in one cloud. Every method raises CniError."""

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


def _why_keep(neutron: Neutron, port: Port, node: str, known: bool, seen: dict[str, bool]) -> str:
    if port.created_at is None:
        return "Neutron does not tell its age"
    age = (datetime.now(UTC) - port.created_at.astimezone(UTC)).total_seconds()
    if age < MIN_AGE_SECONDS:
        return f"made {age:.0f} s ago, less than {MIN_AGE_SECONDS:.0f}"
    if known:
        return f"the API server still knows node {node}"
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


def known_to_api_server(kubeconfig: str) -> NodeKnown:
    """Asks the API server named in a kubeconfig. Raises CniError when it can't be asked.

    Every node is looked at: the tag has the host name, and a node may be registered by another
    name (a cloud provider's, or the fully qualified one). When in doubt it is known.
    """

    def ask(node: str) -> bool:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise CniError(
                Code.INVALID_CONFIG,
                "asking the API server needs the Kubernetes client",
                "install neutron-cni[kubernetes]",
            ) from error
        _require_readable(kubeconfig)
        try:
            api = client.CoreV1Api(config.new_client_from_config(kubeconfig))
            found = api.list_node(_request_timeout=30)
        except client.ApiException as error:
            raise _unanswered(kubeconfig, f"{error.status} {error.reason}") from error
        except Exception as error:  # urllib3's and the client's own have no common base
            raise _unanswered(kubeconfig, str(error)) from error
        return any(_short(node) in map(_short, _names(item)) for item in found.items)

    return ask


def _require_readable(kubeconfig: str) -> None:
    """Raise CniError where the client would wait for ever; a list of files is one too."""
    for path in kubeconfig.split(os.pathsep):
        try:
            files.require_readable(path)
        except OSError as error:
            raise _unanswered(kubeconfig, f"{path} {error.strerror}") from error


def _names(node: Any) -> set[str]:
    """Everything that a node of the API is called by."""
    labels = node.metadata.labels or {}
    addresses = (node.status and node.status.addresses) or ()
    names = {node.metadata.name, labels.get("kubernetes.io/hostname", "")}
    names |= {item.address for item in addresses if item.type in ("Hostname", "InternalDNS")}
    return {name for name in names if name}


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


def _unanswered(kubeconfig: str, why: str) -> CniError:
    return CniError(
        Code.TRY_AGAIN,
        f"the API server of {kubeconfig} can't be asked: {why.splitlines()[0][:200]}",
        "nothing was removed: a node that may still be there keeps its addresses",
    )

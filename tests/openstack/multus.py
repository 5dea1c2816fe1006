"""Multus' plugin on a node, and the networks that docs/how-to/multus.md tells operators to make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.progress import Progress
from tests.openstack.plugin import Answer, call
from tests.support import documented

_IN_THE_LAB = {'"openstack"': '"lab"', '"network": "provider"': '"network": "external"'}
"""What the page calls the cloud and its provider network, and what the lab does."""
_PAGES = {"nova-interface": "nova-interface.md"}
"""Where the definitions are that are not on the page itself."""
_POD = (
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};"
    "K8S_POD_INFRA_CONTAINER_ID={name}"
)


def install(lab: Lab, *nodes: Node) -> None:
    """Have Multus on the nodes; the first time that needs it, it is built."""
    lab.software.multus.install(Progress())
    for node in nodes:
        lab.software.multus.put_on(node)


def definition(kind: str) -> dict[str, Any]:
    """The NetworkAttachmentDefinition of that kind, as its page has it, for the lab."""
    text = documented.block(_PAGES.get(kind, "multus.md"), f"yaml network {kind}")
    for theirs, ours in _IN_THE_LAB.items():
        text = text.replace(theirs, ours)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def network(kind: str, /, **ipam: Any) -> dict[str, Any]:
    """The configuration in it, with further keys of `ipam`; deleted addresses take no rest."""
    config: dict[str, Any] = json.loads(definition(kind)["spec"]["config"])
    if config["ipam"]["type"] == "cni-ipam-neutron":
        config["ipam"] |= {"quarantine": 0, **ipam}
    return config


def multus(
    node: Node,
    command: str,
    name: str,
    delegates: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any] | None = None,
    **environ: str,
) -> Answer:
    """A runtime's call of Multus for the pod `name`, whose first network is the first delegate."""
    document = {
        "cniVersion": "1.1.0",
        "name": "multus",
        "type": "multus",
        "delegates": list(delegates),
        **(more or {}),
    }
    given = {"ARGS": _POD.format(name=name), **environ} if name else environ
    return call(node, command, name, document, plugin="multus", **given)

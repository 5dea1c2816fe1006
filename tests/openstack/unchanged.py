"""Calls that must fail, and change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.plugin import call
from tests.openstack.state import snapshot, wait_until_settled


def refused_unchanged(
    lab: Lab,
    node: Node,
    netns: str,
    code: int,
    document: Mapping[str, Any] | str | None = None,
    **call_options: Any,
) -> str:
    """The sentence of an ADD that fails with `code`; see `plugin.call` for what it is given.

    Neutron, the store, the pod and the node must be as before, to the last digit of the revision.
    """
    before = snapshot(lab, node, netns)
    answer = call(node, "ADD", netns, document, **call_options)
    assert snapshot(lab, node, netns) == before
    return answer.refusal(code)


def refused_and_given_back(
    lab: Lab,
    node: Node,
    netns: str,
    code: int,
    document: Mapping[str, Any] | str | None = None,
    **call_options: Any,
) -> str:
    """The same of an ADD that had an address already: the port was changed, and is as before."""
    before = _without_revisions(snapshot(lab, node, netns))
    answer = call(node, "ADD", netns, document, **call_options)
    wait_until_settled(lab, node)
    assert _without_revisions(snapshot(lab, node, netns)) == before
    return answer.refusal(code)


def _without_revisions(found: dict[str, Any]) -> dict[str, Any]:
    port = {k: v for k, v in found["port"].items() if k not in ("revision_number", "updated_at")}
    return {**found, "port": port}

"""The metadata service, which tells a VM's secrets to who asks from its addresses: pods, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo.pod import Pod
from neutron_cni_lab.metadata import ADDRESS
from tests.openstack.modes import containers, fresh_nodes
from tests.openstack.plugin import config
from tests.openstack.state import wait_for
from tests.support.documented import commands

URL = f"http://{ADDRESS}/openstack/latest/meta_data.json"
MODES: dict[str, dict[str, Any]] = {
    "fixed-ips": {},
    "address-pairs": {},
    "port": {"network": "tenant"},
}


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    with fresh_nodes(lab, "mmeta") as (node,):
        wait_for(lambda: told(node) is not None, "the metadata service")
        yield node


def told(who: Node | Pod) -> Any:
    """Whose metadata are answered, None where none are."""
    done = who.exec(["curl", "-sSf", "-m", "10", URL], check=False)
    return json.loads(done.stdout)["uuid"] if done.returncode == 0 else None


def test_pods_are_taken_for_their_node_until_the_documented_rules_stop_them(node: Node) -> None:
    networks = [
        {**config("1.1.0", mode=mode, **more), "name": mode} for mode, more in MODES.items()
    ]
    with (
        containers(node, "fixed", networks[0]) as (fixed,),
        containers(node, "pair", networks[1]) as (pair,),
        containers(node, "port", networks[2]) as (port,),
    ):
        ours = told(node)
        # Nova, which is played here, has no instance that is called as a reserving port's device.
        assert [told(item.pod) == ours for item in (fixed, pair, port)] == [True, False, False]

        for words in commands("metadata.md", "sh metadata"):
            node.exec(words)
        assert told(node) == ours
        refused = fixed.pod.exec(["curl", "-sS", "-m", "10", URL], check=False)
        assert (refused.returncode, refused.stdout) == (7, "")

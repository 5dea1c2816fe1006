"""Kill -9 of real plugin processes on a real Neutron: nothing leaks, nobody shares an address.

The harness of tests/unit/ipam/test_kills.py has the many kills; these few show that a real cloud,
with the sweeper at work beside, is no different. Half of the containers are `veth-route`'s, whose
kernel state must go and stay with the address. `NEUTRON_CNI_REAL_KILLS`: how many in all.
"""

from __future__ import annotations

import os
import random
from typing import Literal

import pytest

from neutron_cni_lab import Lab
from tests.openstack.killed import Scene
from tests.openstack.modes import fresh_nodes
from tests.openstack.plugin import config

KILLS = int(os.environ.get("NEUTRON_CNI_REAL_KILLS", "18"))
Kind = Literal["vm", "bare"]
NODES: dict[str, tuple[str, Kind]] = {
    "fixed-ips": ("tkillf", "vm"),
    "address-pairs": ("tkilla", "vm"),
    "port": ("tkillp", "bare"),
}


@pytest.mark.parametrize("mode", list(NODES))
def test_no_kill_of_a_real_process_leaks(lab: Lab, mode: str) -> None:
    name, kind = NODES[mode]
    network = {"network": "external"} if mode == "port" else {}
    document = config("1.1.0", mode=mode, **network)
    with fresh_nodes(lab, name, kind=kind) as (node,):
        print(Scene(lab, node, mode, document, random.Random(KILLS)).course(KILLS // len(NODES)))

"""neutron-ipvlan at random on a kernel that has ipvlan: many calls at once, and kill -9.

`NEUTRON_CNI_VM_CALLS`, `NEUTRON_CNI_VM_KILLS`: how many.
"""

from __future__ import annotations

import os
from random import Random

from neutron_cni_lab import Lab, Node
from tests.openstack.crowd import SEED, Crowd
from tests.openstack.killed import Scene
from tests.vm.networks import ipvlan
from tests.vm.remains import nothing_left

CALLS = int(os.environ.get("NEUTRON_CNI_VM_CALLS", "30"))
KILLS = int(os.environ.get("NEUTRON_CNI_VM_KILLS", "12"))
AT_ONCE = 6
MAIN = "neutron-ipvlan"


def test_random_adds_and_dels_at_once_leave_neutron_store_and_kernel_agreeing(
    lab: Lab, vm1: Node
) -> None:
    nothing_left(lab, vm1)
    crowd = Crowd(lab, vm1, ipvlan(), pods=12, gateway="10.20.0.1")
    try:
        crowd.churn(CALLS, AT_ONCE, SEED)
        crowd.agree(f"seed {SEED}")
        crowd.leave(AT_ONCE)
        for container in crowd.containers[:2]:
            nothing_left(lab, vm1, container.name)
    finally:
        crowd.remove()


def test_no_kill_of_a_process_leaks(lab: Lab, vm1: Node) -> None:
    nothing_left(lab, vm1)
    scene = Scene(lab, vm1, "fixed-ips", ipvlan(), Random(KILLS), plugins=(MAIN, MAIN))
    print(scene.course(KILLS))
    nothing_left(lab, vm1)

"""host-device-plus on a VM, whose NICs are hardware: they come home when their namespace dies."""

from __future__ import annotations

from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.nova.servers import Port, attach, detach_and_wait, links
from tests.openstack.modes import Container
from tests.openstack.plugin import call
from tests.openstack.state import wait_for

PLUGIN = "host-device-plus"
DISGUISE = "ip link set eth0 alias x mtu 1300 address 02:00:00:00:00:77"
CHANGES = {
    "as it was": "true",
    "without its alias": "ip link set eth0 alias x",
    "disguised": f"ip link set eth0 down; {DISGUISE}",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_nic_has_its_name_again_however_soon_after_its_namespace_del_comes(
    lab: Lab, vm: Node, port: Port, change: str
) -> None:
    attach(lab, vm, port)
    wait_for(lambda: port.mac in links(vm), "the NIC to come")
    before = known(vm, port.mac)
    given = {"type": "static", "addresses": [{"address": f"{port.address}/20"}]}
    document = {
        "cniVersion": "1.1.0",
        "name": "fast",
        "type": PLUGIN,
        "device": before["ifname"],
        "ipam": given,
    }
    pod = Container(vm, "one", document, PLUGIN)
    pod.add()
    assert port.mac not in links(vm)
    pod.pod.exec(["sh", "-c", change])
    vm.exec(["ip", "netns", "del", pod.name])
    pod.delete()

    def is_home() -> bool:
        answer = call(vm, "STATUS", document=document, plugin=PLUGIN)
        return answer.status == 0 and known(vm, port.mac) == before

    wait_for(is_home, "the NIC to be as it was")
    assert vm.exec(["sh", "-c", "ls /run/neutron-cni/nics"]).stdout == ""
    assert detach_and_wait(lab, vm, port.id) == "Success"


def known(vm: Node, mac: str) -> dict[str, Any]:
    """What is to be as it was of the link with that MAC; empty if there is none."""
    shown = links(vm).get(mac, {})
    return {key: shown.get(key) for key in ("ifname", "mtu", "ifalias") if shown}

"""NICs that Nova attaches are in the node, and those that it detaches are gone from it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.namespaces import ip
from tests.nova.servers import Port, attach, detach_and_wait, is_bound, links
from tests.openstack.state import wait_for

NICS = int(os.environ.get("NEUTRON_CNI_NICS", "12"))
"""How many go in and out, six at a time."""

BY_ITSELF = """
import json, subprocess, sys, time, urllib.request
import openstack

def until(true):
    give_up = time.monotonic() + 120
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.1)

def macs():
    shown = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    return [link["address"] for link in json.loads(shown)]

def ended():
    address = f"/servers/{server}/os-instance-actions/{request}"
    action = cloud.compute.get(address, microversion="2.51").json()["instanceAction"]
    return [event["result"] for event in action.get("events", []) if event["finish_time"]]

metadata = "http://169.254.169.254/openstack/latest/meta_data.json"
server = json.load(urllib.request.urlopen(metadata, timeout=60))["uuid"]
cloud = openstack.connect(cloud="lab")
port = sys.argv[1]
made = cloud.compute.create_server_interface(server, port_id=port)
there = made.mac_addr in macs()
until(lambda: cloud.network.get_port(port).status == "ACTIVE")
answer = cloud.compute.delete(f"/servers/{server}/os-interface/{port}")
request = answer.headers["x-openstack-request-id"]
until(ended)
print(json.dumps([server, there, ended(), made.mac_addr in macs()]))
"""


def test_a_node_finds_its_server_and_gives_itself_a_nic_and_takes_it_away(
    node: Node, port: Port
) -> None:
    python = Path(sys.prefix) / "bin" / "python"
    done = node.exec([python, "-W", "ignore", "-c", BY_ITSELF, port.id], timeout=400)
    assert json.loads(done.stdout) == [node.server_id, True, ["Success"], False]


def test_a_new_nic_is_down_and_has_the_ports_mac_and_the_networks_mtu(
    lab: Lab, node: Node, port: Port
) -> None:
    attach(lab, node, port)
    (new,) = [link for mac, link in links(node).items() if mac == port.mac]
    assert "UP" not in new["flags"]
    assert new["mtu"] == node.facts["mtu"]
    assert is_bound(lab, node, port)


def test_a_nic_works_in_a_pods_namespace_and_is_taken_out_of_there(
    lab: Lab, node: Node, port: Port
) -> None:
    node.exec(["ip", "netns", "add", "pod"])
    try:
        attach(lab, node, port)
        device = links(node)[port.mac]["ifname"]
        for words in (
            f"link set {device} netns pod name eth0",
            f"-n pod address add {port.address}/20 dev eth0",
            "-n pod link set eth0 up",
            "-n pod route add default via 10.10.0.1",
        ):
            node.exec(["ip", *words.split()])
        for target in ("10.10.0.1", lab.node("node2").address, lab.facts["far_address"]):
            node.exec(["ip", "netns", "exec", "pod", "ping", "-c1", "-w60", target])
        assert detach_and_wait(lab, node, port.id) == "Success"
        assert links(node, "pod") == {}
        assert port.mac not in links(node)
        assert not is_bound(lab, node, port)
    finally:
        node.exec(["ip", "netns", "del", "pod"])


def test_a_nic_in_a_namespace_that_nothing_but_a_process_has_is_taken_out_of_there(
    lab: Lab, node: Node, port: Port
) -> None:
    with node.popen(["unshare", "--net", "sleep", "1000"]) as pod:
        try:
            find = ["pgrep", "-f", "^sleep 1000"]
            wait_for(lambda: node.exec(find, check=False).returncode == 0, "the process")
            pid = node.exec(find).stdout.split()[0]
            inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link"]
            attach(lab, node, port)
            node.exec(["ip", "link", "set", links(node)[port.mac]["ifname"], "netns", pid])
            name = node.exec([*inside, "show"]).stdout.split(": ")[-2].partition("@")[0]
            node.exec([*inside, "set", name, "up"])
            assert detach_and_wait(lab, node, port.id) == "Success"
            assert port.mac not in node.exec(inside).stdout
        finally:
            node.exec(["pkill", "-f", "^sleep 1000"], check=False)
            pod.wait(60)


def test_a_port_that_nova_made_goes_with_its_nic(lab: Lab, shared: Node) -> None:
    cloud = lab.connection()
    tenant = lab.facts["networks"]["tenant"]
    made = cloud.compute.create_server_interface(shared.server_id, net_id=tenant)
    assert made.mac_addr in links(shared)
    assert detach_and_wait(lab, shared, made.port_id) == "Success"
    assert made.mac_addr not in links(shared)
    assert cloud.network.find_port(made.port_id, ignore_missing=True) is None


def test_a_port_that_is_deleted_in_neutron_takes_its_nic_along(
    lab: Lab, shared: Node, port: Port
) -> None:
    attach(lab, shared, port)
    lab.connection().network.delete_port(port.id)
    wait_for(lambda: port.mac not in links(shared), "Nova to hear of it from Neutron")


def test_nics_go_in_and_out_of_a_vm_and_leave_nothing(
    lab: Lab, vm: Node, new_port: Callable[[], Port]
) -> None:
    before = remains(lab, vm)
    with ThreadPoolExecutor() as pool:
        for _ in range(NICS // 6):
            ports = [new_port() for _ in range(6)]
            list(pool.map(lambda port: attach(lab, vm, port), ports))
            there = links(vm)
            assert {port.mac for port in ports} < set(there)
            vm.exec(["ip", "link", "set", there[ports[1].mac]["ifname"], "up"])
            ends = pool.map(lambda port: detach_and_wait(lab, vm, port.id), ports)
            assert set(ends) == {"Success"}
            for port in ports:
                lab.connection().network.delete_port(port.id)
    assert remains(lab, vm) == before


def test_a_node_with_all_slots_taken_refuses_one_more(
    lab: Lab, vm: Node, new_port: Callable[[], Port], port: Port
) -> None:
    cloud = lab.connection()
    nics = lab.nics_of(vm)
    for number in range(30):
        nics.attach(f"{number:08x}-0000-0000", f"02:00:00:00:01:{number:02x}", 1442)
    try:
        assert len(links(vm)) == 31
        address = f"/servers/{vm.server_id}/os-interface"
        asked = {"interfaceAttachment": {"port_id": port.id}}
        answer = cloud.compute.post(address, json=asked)
        assert answer.status_code == 500
        assert "Failed to attach network adapter device" in answer.text
        assert port.mac not in links(vm)
        assert not is_bound(lab, vm, port)
        # All of them are on the kernel's command line then.
        vm.exec(["sh", "-c", "echo b >/proc/sysrq-trigger; sleep 1000"], check=False)
        assert len(links(vm)) == 31
    finally:
        for nic in nics.listed:
            nics.detach(nic.port_id)
    assert list(links(vm)) == [vm.facts["mac"]]


def remains(lab: Lab, node: Node) -> list[object]:
    """What of NICs there is in the node, on its host, in the switch and in Neutron."""
    on_host = [ip(name, "-br", "link") for name in (lab.switch.namespace, node.namespace)]
    ports = lab.connection().network.ports(device_id=node.server_id)
    return [
        sorted(links(node)),
        [sorted(line.split()[0] for line in shown.splitlines()) for shown in on_host],
        sorted(lab.switch.vsctl("list-ports", "br-int").split()),
        [port.id for port in ports],
        lab.nics_of(node).listed,
    ]

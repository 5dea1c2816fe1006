"""A server keeps its NICs when its node or Nova is off for a while."""

from __future__ import annotations

from neutron_cni_lab import Lab, Node
from tests.nova.servers import Port, attach, detach_and_wait, is_bound, links
from tests.openstack.state import wait_for


def test_a_node_that_is_switched_off_and_on_has_its_nics_again(
    lab: Lab, node: Node, port: Port
) -> None:
    attach(lab, node, port)
    node = lab.reboot_node(node.name)
    assert set(links(node)) == {node.facts["mac"], port.mac}
    wait_for(lambda: is_active(lab, port), "the port to be ACTIVE")
    assert detach_and_wait(lab, node, port.id) == "Success"
    assert set(links(lab.reboot_node(node.name))) == {node.facts["mac"]}


def test_a_vm_that_reboots_by_itself_has_its_nics_again(lab: Lab, vm: Node, port: Port) -> None:
    attach(lab, vm, port)
    vm.exec(["sh", "-c", "sync; echo b >/proc/sysrq-trigger; sleep 1000"], check=False)
    assert set(links(vm)) == {vm.facts["mac"], port.mac}
    assert detach_and_wait(lab, vm, port.id) == "Success"
    vm.exec(["sh", "-c", "sync; echo b >/proc/sysrq-trigger; sleep 1000"], check=False)
    assert set(links(vm)) == {vm.facts["mac"]}


def test_what_is_attached_to_a_node_that_is_off_is_there_when_it_is_on(
    lab: Lab, shared: Node, port: Port
) -> None:
    lab.stop_node(shared.name)
    assert status(lab, shared) == "SHUTOFF"
    attach(lab, shared, port)
    lab.start_node(shared.name)
    assert status(lab, shared) == "ACTIVE"
    assert port.mac in links(shared)


def test_a_server_that_is_rebooted_by_nova_is_a_node_that_reboots(
    lab: Lab, shared: Node, port: Port
) -> None:
    attach(lab, shared, port)
    shared.exec(["touch", "/run/lost"])
    lab.connection().compute.reboot_server(shared.server_id, "HARD")
    wait_for(lambda: status(lab, shared) == "ACTIVE", "the reboot to end")
    assert shared.exec(["test", "-e", "/run/lost"], check=False).returncode == 1
    assert port.mac in links(shared)


def test_nova_that_is_started_again_knows_servers_and_nics(
    lab: Lab, node: Node, port: Port
) -> None:
    attach(lab, node, port)
    lab.nova.stop()
    try:
        assert lab.nova.pid is None
        assert port.mac in links(node)
    finally:
        lab.nova.start()
    assert is_bound(lab, node, port)
    assert detach_and_wait(lab, node, port.id) == "Success"
    assert port.mac not in links(node)


def test_a_node_that_is_rebooted_while_nova_is_stopped_has_its_nics_again(
    lab: Lab, shared: Node, port: Port
) -> None:
    attach(lab, shared, port)
    lab.nova.stop()
    try:
        assert port.mac in links(lab.reboot_node(shared.name))
    finally:
        lab.nova.start()


def status(lab: Lab, node: Node) -> str:
    """The server's, when no task is under way."""
    server = lab.connection().compute.get_server(node.server_id)
    return str(server.status) if server.task_state is None else str(server.task_state)


def is_active(lab: Lab, port: Port) -> bool:
    return bool(lab.connection().network.get_port(port.id).status == "ACTIVE")

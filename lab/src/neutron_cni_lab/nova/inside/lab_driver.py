"""Nova's hypervisor driver: its virtual machines are the lab's nodes.

Nova loads this as ``nova.virt.lab_driver``. A server is the node whose facts have its id; its name
says nothing. A server that is no node has no machine: there nothing is plugged in.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

from nova import exception
from nova.compute import power_state
from nova.virt import fake, hardware
from oslo_log import log as logging

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import read_facts
from neutron_cni_lab.nics import NamespaceNics, Nics
from neutron_cni_lab.node import Node
from neutron_cni_lab.nova import faults
from neutron_cni_lab.paths import MARKER, Places
from neutron_cni_lab.switch import Switch
from neutron_cni_lab.uml.nics import VirtualNics

_LOG = logging.getLogger(__name__)
_FOLDER = Path(os.environ[MARKER])
_PLACES = Places(_FOLDER.parent, _FOLDER.name)
_SWITCH = Switch(_PLACES)


class LabDriver(fake.FakeDriverWithoutFakeNodes):  # type: ignore[misc]
    """The fake driver of Nova's own tests, less what it pretends about NICs and power."""

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        **more: Any,
    ) -> None:
        """The node is made by the lab; if Nova makes it anew, it runs with all its NICs again."""
        words = (context, instance, image_meta, injected_files, admin_password, allocations)
        super().spawn(*words, network_info=network_info, **more)
        node = _node(instance)
        for vif in network_info or []:
            if node and vif["id"] != node.port_id:
                _attach(node, vif)
        if node and node.pid is None:
            _switch_node("start", node)

    def destroy(
        self, context: Any, instance: Any, network_info: Any, *words: Any, **more: Any
    ) -> None:
        """Take its further NICs; the node with its first one goes when the lab removes it."""
        node = _node(instance)
        for vif in network_info or []:
            if node:
                _nics(node).detach(vif["id"])
        super().destroy(context, instance, network_info, *words, **more)

    def attach_interface(self, context: Any, instance: Any, image_meta: Any, vif: Any) -> None:
        """Give the node a NIC with the port's MAC; it is there when this returns."""
        _take_time("attach_seconds")
        ordered = faults.read(_PLACES.nova)
        node = _node(instance)
        if ordered.attach_fails:
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid)
        if node is None or ordered.nic_missing:
            _LOG.info("no NIC is plugged in for port %s", vif["id"])
            return
        try:
            _attach(node, vif)
        except LabError as error:
            _LOG.error("attach of port %s: %s", vif["id"], error)
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid) from error

    def detach_interface(self, context: Any, instance: Any, vif: Any) -> None:
        """Take the NIC away, wherever in the node it is by now; harmless where there is none."""
        _take_time("detach_seconds")
        node = _node(instance)
        if faults.read(_PLACES.nova).detach_fails:
            raise exception.InterfaceDetachFailed(instance_uuid=instance.uuid)
        try:
            if node:
                _nics(node).detach(vif["id"])
        except LabError as error:
            _LOG.error("detach of port %s: %s", vif["id"], error)
            raise exception.InterfaceDetachFailed(instance_uuid=instance.uuid) from error

    def get_info(self, instance: Any, use_cache: bool = True) -> Any:
        """Whether the node is on; a server that is no node always is."""
        node = _node(instance)
        on = node is None or node.pid is not None
        state = power_state.RUNNING if on else power_state.SHUTDOWN
        if instance.uuid not in self.instances:  # it is from before a restart of Nova
            made = fake.FakeInstance(instance.name, state, instance.uuid)
            self.instances[instance.uuid] = made
        return hardware.InstanceInfo(state=state)

    def power_off(self, instance: Any, *words: Any, **more: Any) -> None:
        """Switch the node off, if it is on."""
        if (node := _node(instance)) and node.pid is not None:
            _switch_node("stop", node)

    def power_on(self, context: Any, instance: Any, *words: Any, **more: Any) -> None:
        """Switch the node on, if it is off."""
        if (node := _node(instance)) and node.pid is None:
            _switch_node("start", node)

    def reboot(self, context: Any, instance: Any, *words: Any, **more: Any) -> None:
        """Power-cycle the node, whether a soft or a hard reboot is asked for."""
        if node := _node(instance):
            _switch_node("restart", node)


def _node(instance: Any) -> Node | None:
    nodes = read_facts(_PLACES.facts).get("nodes", {})
    found = [name for name, facts in nodes.items() if facts.get("server_id") == instance.uuid]
    return Node(_PLACES, found[0], nodes[found[0]]) if found else None


def _nics(node: Node) -> Nics:
    kind = VirtualNics if node.kernel == "own" else NamespaceNics
    return kind(_PLACES, _SWITCH, node)


def _attach(node: Node, vif: Any) -> None:
    mtu = vif["network"]["meta"].get("mtu") or 1500
    _nics(node).attach(vif["id"], vif["address"], int(mtu))


def _take_time(order: Literal["attach_seconds", "detach_seconds"]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < getattr(faults.read(_PLACES.nova), order):
        time.sleep(0.05)


def _switch_node(what: Literal["stop", "start", "restart"], node: Node) -> None:
    """By the lab's own command, in the lab's environment and its host's network namespace."""
    host = os.environ["LAB_NETWORK"]
    lab = ["nsenter", f"--net=/proc/self/fd/{host}", os.environ["LAB_PYTHON"], "-m"]
    command = [*lab, "neutron_cni_lab", "node", what, node.name, "--name", _PLACES.name]
    done = subprocess.run(
        command,
        env={**os.environ, "NEUTRON_CNI_LAB_HOME": str(_PLACES.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd="/",
        pass_fds=[int(host)],
    )
    if done.returncode:
        raise exception.NovaException(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")

"""A lab's nodes: made, stopped, started, removed, and given other ports."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from neutron_cni_lab import vm_port
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.machine import Machine, bare_facts
from neutron_cni_lab.namespace_machine import NamespaceMachine
from neutron_cni_lab.nics import Nics
from neutron_cni_lab.node import Kernel, Node
from neutron_cni_lab.ovs import Ovs
from neutron_cni_lab.parts import Parts
from neutron_cni_lab.switch import EXTERNAL_PREFIX, FAR_ADDRESS
from neutron_cni_lab.switch import INTERNET_ADDRESS as EXTERNAL_GATEWAY
from neutron_cni_lab.uml.machine import VirtualMachine

Kind = Literal["vm", "bare"]

_RESERVED = ("fabric", "internet", "router")
"""Names that mean something else."""


class Nodes(Parts):
    """The nodes of a lab, by name; its processes and databases are `Lab`'s matter."""

    def node(self, name: str) -> Node:
        """The node called `name`; ``internet`` is the host behind the external network, ``router``
        the namespace of a lab's router that has one (ML2/OVS)."""
        nodes = self.facts.get("nodes", {})
        if name == "internet":
            addresses = [f"{EXTERNAL_GATEWAY}/{EXTERNAL_PREFIX}", f"{FAR_ADDRESS}/32"]
            return Node(self.places, name, {"kind": "internet", "addresses": addresses})
        if name == "router":
            return Node(self.places, name, self._router_facts())
        if name not in nodes:
            known = ", ".join(sorted(nodes)) or "none"
            raise LabError(f"there is no node {name!r}", f"Nodes of this lab: {known}.")
        return Node(self.places, name, nodes[name])

    def _router_facts(self) -> dict[str, Any]:
        if not isinstance(self.driver, Ovs):
            what = f"the routers of lab {self.places.name!r} are no namespaces, but flows of OVN's"
            raise LabError(what, "In a lab made by `neutron-cni lab up --driver ovs` they are.")
        enter = self.driver.agents.inside(self.driver.in_router(self.facts["router_id"]))
        return {"kind": "router", "addresses": [], "enter": list(map(str, enter))}

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return [self.node(name) for name in self.facts.get("nodes", {})]

    def add_node(
        self, name: str, network: str = "tenant", kind: Kind = "vm", kernel: Kernel = "shared"
    ) -> Node:
        """Make a node: a VM with a port on `network`, or a bare one on the external network.

        Either shares the host's kernel, or has its `own`, as a user-mode Linux VM.
        """
        with self._locked():
            known = self.facts["nodes"].get(name)
            if known:
                wanted = (kind, "external" if kind == "bare" else network, kernel)
                if (known["kind"], known["network"], self.node(name).kernel) != wanted:
                    raise LabError(
                        f"there is a node {name!r}, {self.node(name).description}",
                        f"Take another name, or `neutron-cni lab node rm {name}` first.",
                    )
            return self._ensure_node(name, network, kind, kernel)

    def nics_of(self, node: Node) -> Nics:
        """The NICs that Nova attached to it, past Nova."""
        return self._machine(node.name).nics

    def remove_node(self, name: str) -> None:
        """Remove a node and its port; whatever pods it has go with it."""
        with self._locked():
            facts = self.facts
            if name not in facts["nodes"]:
                return
            self._machine(name).remove()
            known = facts["nodes"].pop(name)
            if "server_id" in known:
                self.servers.delete(known["server_id"])
            if "port_id" in known:
                self.connection().network.delete_port(known["port_id"])
            self._write(facts)

    def reboot_node(self, name: str, noreboot: bool = False) -> Node:
        """Power-cycle a node: pods, devices and /run are gone, /var/lib and /etc are kept.

        With `noreboot` a VM with a kernel of its own ends, until `start_node`, when it reboots.
        """
        with self._locked():
            self._machine_of_node(name).stop()
            return self._ensure_node(name, noreboot=noreboot)

    def stop_node(self, name: str) -> None:
        """Switch a node off until `start_node`; its port, /var/lib and /etc are kept."""
        with self._locked():
            self._machine_of_node(name).stop()
            self._note_stopped(name, True)
            server = self.node(name).facts.get("server_id")
            if server and self.nova.pid is not None:
                self.servers.note_stopped(server)

    def start_node(self, name: str, noreboot: bool = False) -> Node:
        """Switch a node on that was stopped or has died; one that runs is left alone.

        `noreboot` as with `reboot_node`.
        """
        with self._locked():
            self._machine_of_node(name)
            return self._ensure_node(name, noreboot=noreboot)

    def replace_port(self, name: str, network: str = "", mac: str = "", keep: bool = False) -> Node:
        """Give a VM's NIC a new Neutron port, on `network` and with `mac` where they are named.

        That is what a VM finds that was made anew: its disks (/var/lib) and pods stay here; one
        with a kernel of its own is switched off meanwhile, and has no pods after that. The old port
        is deleted, or with `keep` left as Nova leaves one that a user made: unbound.
        """
        with self._locked():
            facts = self.facts
            old = facts["nodes"][name]
            self._machine(name).unplug()
            if "server_id" in old:
                self.servers.delete(old["server_id"])
            calls = self.connection().network
            if keep:
                calls.update_port(
                    old["port_id"], name="", device_id="", device_owner="", binding_host_id=""
                )
            else:
                calls.delete_port(old["port_id"])
            more = {"mac_address": mac} if mac else {}
            new = self._new_vm(name, network or old["network"], facts, **more)
            facts["nodes"][name] = {**new, **_kernel_facts(self.node(name).kernel)}
            self._write(facts)
            return self._ensure_node(name)

    def _ensure_node(
        self,
        name: str,
        network: str = "tenant",
        kind: Kind = "vm",
        kernel: Kernel = "shared",
        noreboot: bool = False,
    ) -> Node:
        self._note_node(name, network, kind, kernel)
        self._ensure_servers([name])
        return self._run_node(name, noreboot)

    def _ensure_servers(self, names: Sequence[str]) -> None:
        """In a lab whose Nova is up, have each of the nodes that is a VM be a server."""
        if not self.has_nova or self.nova.pid is None:
            return
        facts = self.facts
        vms = [name for name in names if facts["nodes"][name]["kind"] == "vm"]
        servers = self.servers
        with ThreadPoolExecutor() as pool:
            ports = [facts["nodes"][name]["port_id"] for name in vms]
            made = list(pool.map(servers.ensure, vms, ports))
        for name, (server_id, _) in zip(vms, made, strict=True):
            facts["nodes"][name]["server_id"] = server_id
        self._write(facts)
        for name, (_, is_new) in zip(vms, made, strict=True):
            if is_new:
                self._machine(name).become_server()

    def _note_node(
        self, name: str, network: str = "tenant", kind: Kind = "vm", kernel: Kernel = "shared"
    ) -> None:
        """Have it in the facts, with a port if it is a VM, as one that is to run."""
        if not re.fullmatch(r"[a-z][a-z0-9]{0,10}", name) or name in _RESERVED:
            hint = "Use up to 11 lower-case letters and digits, a letter first."
            raise LabError(f"{name!r} can't be a node's name", hint)
        facts = self.facts
        if name not in facts["nodes"]:
            if kernel == "own":
                self.software.kernel.check()
            made = (
                bare_facts(facts["nodes"]) if kind == "bare" else self._new_vm(name, network, facts)
            )
            facts["nodes"][name] = {**made, **_kernel_facts(kernel)}
            self._write(facts)
        self._note_stopped(name, False)

    def _run_node(self, name: str, noreboot: bool = False) -> Node:
        """Have a node that is noted running; several may be on their way at once."""
        machine = self._machine(name, noreboot)
        machine.ensure(self.software.cni)
        machine.install_product()
        if machine.node.facts["kind"] == "vm":
            hint = self.driver.hint(self.places.logs)
            vm_port.wait_active(self.connection(), machine.node.port_id, hint)
            server = machine.node.facts.get("server_id")
            if server and self.nova.pid is not None:
                self.servers.note_started(server)
        return machine.node

    def _machine_of_node(self, name: str) -> Machine:
        """LabError for what is no node, the internet host included."""
        if name == "internet":
            raise LabError("`internet` is the host out there, and no node")
        if name == "router":
            raise LabError("`router` is Neutron's matter, and no node")
        return self._machine(name)

    def _note_stopped(self, name: str, stopped: bool) -> None:
        facts = self.facts
        if stopped != facts["nodes"][name].pop("stopped", False):
            if stopped:
                facts["nodes"][name]["stopped"] = True
            self._write(facts)

    def _machine(self, name: str, noreboot: bool = False) -> Machine:
        node = self.node(name)
        parts = (self.places, self.switch, name, node.facts)
        if node.kernel == "shared":
            return NamespaceMachine(*parts)
        return VirtualMachine(*parts, self.software.kernel, noreboot)

    def _new_vm(
        self, name: str, network: str, facts: dict[str, Any], **attributes: Any
    ) -> dict[str, Any]:
        return vm_port.create(
            self.connection(),
            name,
            network,
            device_id=f"{self.places.name}-{name}",
            binding_host_id=self.switch.chassis,
            security_group_ids=[facts["security_group_id"]],
            **attributes,
        )


def _kernel_facts(kernel: Kernel) -> dict[str, str]:
    """What the facts of a node say of its kernel; nothing of the host's, as ever."""
    return {"kernel": "own"} if kernel == "own" else {}

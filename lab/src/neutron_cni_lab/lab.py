"""`Lab`: bring it up, take it down, and get at its parts."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

from neutron_cni_lab import folders, kernel, namespaces, topology, vm_port
from neutron_cni_lab.database import Database
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked, ports_of_others, read_facts, write_facts
from neutron_cni_lab.machine import Machine, bare_facts
from neutron_cni_lab.metadata import Metadata
from neutron_cni_lab.neutron import API_PORT, PROJECT_ID, Neutron, free_port
from neutron_cni_lab.node import Node
from neutron_cni_lab.paths import Places, default_name, home
from neutron_cni_lab.processes import all_of, end
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.snapshot import Snapshot
from neutron_cni_lab.software import Software
from neutron_cni_lab.switch import API_ADDRESS, EXTERNAL_PREFIX, FAR_ADDRESS, Switch
from neutron_cni_lab.switch import INTERNET_ADDRESS as EXTERNAL_GATEWAY

Kind = Literal["vm", "bare"]


class Lab:
    """The lab called `name`, up or not. Everything it makes is found again by that name alone."""

    def __init__(self, name: str | None = None) -> None:
        self.places = Places(home(), name or default_name())
        self.software = Software(self.places.cache)
        self.switch = Switch(self.places)
        self.database = Database(self.places)
        self.neutron = Neutron(self.places, self.software.neutron, self.switch)
        self.metadata = Metadata(self.places, self.software.neutron, self.switch)
        self._cloud: Any = None

    @classmethod
    def open(cls, name: str | None = None) -> Self:
        """The lab called `name`, which must be up (`LabError` otherwise)."""
        lab = cls(name)
        if not lab.facts.get("up"):
            raise LabError(
                f"lab {lab.places.name!r} is not up",
                f"`neutron-cni lab up --name {lab.places.name}`",
            )
        return lab

    @property
    def facts(self) -> dict[str, Any]:
        """What was made: ``api_port``, ``api_url`` (from the host), ``node_api_url``,
        ``project_id``, ``networks`` and ``subnets`` (name to id), ``router_id``,
        ``security_group_id``, ``far_address`` (the internet host), ``chassis``, ``nodes``."""
        return read_facts(self.places.facts)

    def up(
        self, progress: Progress | None = None, nodes: tuple[str, ...] = ("node1", "node2")
    ) -> None:
        """Have all of it running with `nodes`; starts what is missing, repairs what has died."""
        progress = progress or Progress(quiet=True)
        self.software.check()
        with self._locked():
            self._check_same_neutron()
            folders.finish_removal(self.places.folder)
            if self.facts.get("ending"):  # a `down` was killed: what still runs may be about to end
                self._stop()
            kernel.load_dummy()
            snapshot = Snapshot(self.places, self.software.neutron, self.switch)
            snapshot.restore()
            is_new = not self.places.database.exists()
            with locked(self.places.home / "ports.lock"):
                self._base_facts()
            self._start_services(progress)
            with progress.step("networks, router, security group"):
                self._change(**topology.ensure(self.connection()))
            if is_new and not snapshot.exists:
                self._save(snapshot, progress)
            wanted = dict.fromkeys([*self.facts["nodes"], *nodes])
            with progress.step(f"nodes {', '.join(wanted)}"):
                for name in wanted:
                    self._ensure_node(name)
                self.switch.sync()
            self._change(up=True)

    def down(self, progress: Progress | None = None, keep_logs: bool = False) -> None:
        """End every process, remove every namespace, mount and file of the lab. Harmless twice.

        With `keep_logs` its logs become `Places.kept_logs`, in the place of earlier ones.
        """
        progress = progress or Progress(quiet=True)
        with self._locked(), progress.step(f"remove lab {self.places.name}"):
            if self.facts:
                self._change(up=False, ending=True)
            self._stop()
            namespaces.clean_up(self.places)
            if keep_logs and self.places.logs.exists():
                folders.remove(self.places.kept_logs)
                self.places.logs.rename(self.places.kept_logs)
            folders.remove(self.places.folder)
        self._cloud = None

    def connection(self) -> Any:
        """An ``openstack.connection.Connection`` to the lab's Neutron, as its admin."""
        if self._cloud is None:
            import openstack  # 0.4 s, which `lab exec` must not pay

            url = self.facts["api_url"]
            self._cloud = openstack.connection.Connection(
                auth_type="none", auth={"endpoint": url}, network_endpoint_override=url
            )
            # Neutron is on this machine: no $http_proxy leads there.
            self._cloud.session.session.trust_env = False
        return self._cloud

    def node(self, name: str) -> Node:
        """The node called `name`; ``internet`` is the host behind the external network."""
        nodes = self.facts.get("nodes", {})
        if name == "internet":
            addresses = [f"{EXTERNAL_GATEWAY}/{EXTERNAL_PREFIX}", f"{FAR_ADDRESS}/32"]
            return Node(self.places, name, {"kind": "internet", "addresses": addresses})
        if name not in nodes:
            known = ", ".join(sorted(nodes)) or "none"
            raise LabError(f"there is no node {name!r}", f"Nodes of this lab: {known}.")
        return Node(self.places, name, nodes[name])

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return [self.node(name) for name in self.facts.get("nodes", {})]

    def add_node(self, name: str, network: str = "tenant", kind: Kind = "vm") -> Node:
        """Make a node: a VM with a port on `network`, or a bare one on the external network."""
        with self._locked():
            known = self.facts["nodes"].get(name)
            wanted = (kind, "external" if kind == "bare" else network)
            if known and (known["kind"], known["network"]) != wanted:
                raise LabError(
                    f"there is a node {name!r}, a {known['kind']} on network {known['network']}",
                    f"Take another name, or `neutron-cni lab node rm {name}` first.",
                )
            return self._ensure_node(name, network, kind)

    def remove_node(self, name: str) -> None:
        """Remove a node and its port; whatever pods it has go with it."""
        with self._locked():
            facts = self.facts
            if name not in facts["nodes"]:
                return
            self._machine(name).remove()
            known = facts["nodes"].pop(name)
            if "port_id" in known:
                self.connection().network.delete_port(known["port_id"])
            self._write(facts)

    def reboot_node(self, name: str) -> Node:
        """Power-cycle a node: pods, devices and /run are gone, /var/lib is kept."""
        with self._locked():
            self._machine(name).stop()
            return self._ensure_node(name)

    def replace_port(self, name: str, network: str = "", mac: str = "", keep: bool = False) -> Node:
        """Give a VM's NIC a new Neutron port, on `network` and with `mac` where they are named.

        That is what a VM finds that was made anew: its disks (/var/lib) and pods stay here. The
        old port is deleted, or with `keep` left as Nova leaves one that a user made: unbound.
        """
        with self._locked():
            facts = self.facts
            old = facts["nodes"][name]
            self._machine(name).unplug()
            calls = self.connection().network
            if keep:
                calls.update_port(
                    old["port_id"], name="", device_id="", device_owner="", binding_host_id=""
                )
            else:
                calls.delete_port(old["port_id"])
            more = {"mac_address": mac} if mac else {}
            facts["nodes"][name] = self._new_vm(name, network or old["network"], facts, **more)
            self._write(facts)
            return self._ensure_node(name)

    def stop_neutron(self) -> None:
        """End the API: connections are refused from then on."""
        self.neutron.stop()

    def start_neutron(self) -> None:
        """Serve the API again, at the same addresses."""
        self.neutron.start(self.facts["api_port"])

    def stop_database(self) -> None:
        """End MariaDB: the API hangs from then on.

        Neutron tries again 20 times, up to 10 s apart, before it answers 500 (MAX_RETRIES in
        neutron_lib.db.api, which no setting changes): nearly three minutes.
        """
        self.database.stop()

    def start_database(self) -> None:
        """Start MariaDB again, with the same data."""
        self.database.start()

    def _stop(self) -> None:
        names = namespaces.listed(self.places)
        inodes = [number for name in names if (number := namespaces.inode(name)) is not None]
        # A second look finds what was being started during the first. Little patience, as what they
        # would save is about to be removed, or outlives kill -9 (where `up` goes on with it).
        for _ in range(2):
            end(all_of(self.places.folder, inodes), patience=0.2)
        for name in names:
            namespaces.remove(name)

    def _base_facts(self) -> None:
        facts = self.facts
        port = facts.get("api_port")
        if port is None or self.neutron.pid is None:
            self.neutron.stop()  # one that nobody can reach would keep the port
            port = free_port(taken=ports_of_others(self.places), first=port)
        base = {
            "name": self.places.name,
            "api_port": port,
            "api_url": f"http://127.0.0.1:{port}",
            "node_api_url": f"http://{API_ADDRESS}:{API_PORT}",
            "project_id": PROJECT_ID,
            "far_address": FAR_ADDRESS,
            "chassis": self.switch.chassis,
            "neutron": self.software.neutron.name,
            "ending": False,
        }
        self._write({"nodes": {}, "up": False, **facts, **base})
        self._cloud = None

    def _start_services(self, progress: Progress) -> None:
        self.neutron.configure(self.database.url)
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(self._start_database, progress),
                pool.submit(self._start_switch, progress),
            ]
            for job in jobs:
                job.result()
        with progress.step("Neutron"):
            self.neutron.start(self.facts["api_port"])

    def _save(self, snapshot: Snapshot, progress: Progress) -> None:
        with progress.step("a copy of the databases, for the next lab"):
            self.neutron.stop()
            self.database.stop()
            snapshot.save()
            self.database.start()
            self.neutron.start(self.facts["api_port"])

    def _check_same_neutron(self) -> None:
        mine = self.software.neutron.name
        if self.facts.get("neutron", mine) != mine:
            raise LabError(
                f"lab {self.places.name!r} has a Neutron that is not this checkout's",
                f"`neutron-cni lab down --name {self.places.name}` first: it is then made anew.",
            )

    def _start_database(self, progress: Progress) -> None:
        with progress.step("MariaDB with Neutron's tables"):
            self.database.start()
            self.database.migrate(self.software.neutron, self.neutron.configuration)

    def _start_switch(self, progress: Progress) -> None:
        with progress.step("Open vSwitch and OVN"):
            self.switch.start()
        # It needs OVN only, and time: nobody asks it before there are nodes.
        self.metadata.start()

    def _ensure_node(self, name: str, network: str = "tenant", kind: Kind = "vm") -> Node:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,10}", name) or name in ("fabric", "internet"):
            hint = "Use up to 11 lower-case letters and digits, a letter first."
            raise LabError(f"{name!r} can't be a node's name", hint)
        facts = self.facts
        if name not in facts["nodes"]:
            made = (
                bare_facts(facts["nodes"]) if kind == "bare" else self._new_vm(name, network, facts)
            )
            facts["nodes"][name] = made
            self._write(facts)
        machine = self._machine(name)
        machine.ensure(self.software.cni)
        machine.install_product()
        if machine.node.facts["kind"] == "vm":
            hint = f"See {self.places.logs / 'ovn-controller.log'} and neutron.log beside it."
            vm_port.wait_active(self.connection(), machine.node.port_id, hint)
        return machine.node

    def _machine(self, name: str) -> Machine:
        return Machine(self.places, self.switch, name, self.node(name).facts)

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

    def _change(self, **changes: Any) -> None:
        self._write({**self.facts, **changes})

    def _write(self, changed: dict[str, Any]) -> None:
        write_facts(self.places.facts, changed)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time."""
        waiting = f"waiting for another command on lab {self.places.name} ..."
        with locked(self.places.lock, lambda: Progress().note(waiting)):
            yield

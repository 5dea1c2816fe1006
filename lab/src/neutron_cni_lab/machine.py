"""Making a node: its NIC, and what an operator puts on it; subclasses have what it runs on."""

import filecmp
import ipaddress
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from neutron_cni_lab import folders, metadata, namespaces
from neutron_cni_lab.neutron import API_PORT
from neutron_cni_lab.nics import Nics
from neutron_cni_lab.node import Node
from neutron_cni_lab.nova.configuration import NODE_URL
from neutron_cni_lab.paths import Places
from neutron_cni_lab.switch import (
    API_ADDRESS,
    EXTERNAL_PREFIX,
    INTERNET_ADDRESS,
    Switch,
    make_cable,
)

_CONFLIST = "10-neutron-cni.conflist"


Layer = Literal["etc", "opt", "usr/local"]
"""A folder of the node that has something beyond the host's."""


class Machine(ABC):
    """The parts of one node on this host; every method is harmless twice."""

    nics: Nics
    """Those that Nova attached, beside the first; subclasses say how they get in and out."""

    def __init__(self, places: Places, switch: Switch, name: str, facts: Mapping[str, Any]) -> None:
        self._places = places
        self._switch = switch
        self._facts = facts
        self.node = Node(places, name, facts)
        self._folder = places.node(name)
        key = facts.get("port_id", name)
        self._link = f"tap{key[:11]}"  # as Nova calls a VM's device; 14 characters at most

    def ensure(self, programs: Path) -> None:
        """Have the node running, plugged in and set up; one that died is booted anew."""
        with self.nics.locked():
            if not self._is_whole():
                self._switch_off()
                namespaces.ensure(self._places, self.node.namespace)
                self._write_files(programs)
                self._start()
            if not self._is_plugged():
                self._plug()
            self.nics.plug()
        self._address()

    def stop(self) -> None:
        """Pull the plug: processes, devices, routes and /run are lost, /var/lib and /etc stay."""
        with self.nics.locked():
            self._switch_off()

    def _switch_off(self) -> None:
        self._end_processes()
        self._switch.unplug(self._link)
        self.nics.unplug()
        namespaces.remove(self.node.namespace)

    def unplug(self) -> None:
        """Take the NIC out; the rest of the node goes on."""
        self._switch.unplug(self._link)
        namespaces.ip(self.node.namespace, "link", "del", "eth0", check=False)

    def become_server(self) -> None:
        """A node that runs is a Nova server from now on, for which its port was bound anew."""
        if self.node.pid is None:
            return
        if self._is_plugged():
            # In two transactions, or OVN sees no change and Neutron never hears of the port.
            self._switch.unplug(self._link)
            self._plug_in()
        script = "mkdir -p /etc/openstack && umask 077 && cat >/etc/openstack/clouds.yaml"
        self.node.exec(["sh", "-c", script], input=_clouds(is_server=True))

    def remove(self) -> None:
        """`stop` it, and remove its folder."""
        self.stop()
        folders.remove(self._folder)

    def install_product(self) -> None:
        """Install neutron-cni with its own command, as an operator does.

        A network that is there stays as it is: somebody may be trying something.
        """
        program = Path(sys.prefix) / "bin" / "neutron-cni"
        command: list[str | Path] = [program, "install", "--bin-dir", "/opt/cni/bin"]
        network = f"/etc/cni/net.d/{_CONFLIST}"
        is_new = not self._has_file(network)
        if self._facts["kind"] == "vm" and is_new:
            command += ["--conf-dir", "/etc/cni/net.d", "--conf-name", _CONFLIST, "--cloud", "lab"]
        self.node.exec(command)
        if self._facts["kind"] == "bare" and is_new:
            script = f"mkdir -p /etc/cni/net.d && cat >{network}"
            self.node.exec(["sh", "-c", script], input=self._bare_conflist())

    @abstractmethod
    def _is_whole(self) -> bool:
        """Whether what was started lives, in the namespace that now has the node's name."""

    @abstractmethod
    def _end_processes(self) -> None:
        """End everything that runs in the node, and what it runs on."""

    @abstractmethod
    def _start(self) -> None:
        """Switch it on; its namespace is there, and its files are written."""

    @abstractmethod
    def _address(self) -> None:
        """Have `_network` done in the node."""

    @abstractmethod
    def _layer(self, part: Layer) -> Path:
        """The host's folder with what the node has in `part` from its next start on."""

    @abstractmethod
    def _has_file(self, path: str) -> bool:
        """Whether the node, which runs, has a file at `path` in its own /etc."""

    def _write_files(self, programs: Path) -> None:
        etc, clouds = self._layer("etc"), _clouds("server_id" in self._facts)
        _write(etc / "hostname", f"{self.node.name}\n")
        _write(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.node.name}\n::1 localhost\n")
        _write(etc / "openstack" / "clouds.yaml", clouds, mode=0o600)
        _copy(programs / "bin", self._layer("opt") / "cni" / "bin")
        _copy(programs / "tools", self._layer("usr/local") / "bin")

    def _new_log(self) -> Path:
        """Where what the node says at its start goes; `neutron-cni lab logs NODE` shows it."""
        log = self._places.logs / f"{self.node.name}.log"
        log.unlink(missing_ok=True)
        return log

    def _bare_conflist(self) -> str:
        """No VM port to add addresses to: each pod has a Neutron port, its NIC is on the L2."""
        ipam = {
            "type": "cni-ipam-neutron",
            "mode": "port",
            "cloud": "lab",
            "network": self._facts["network"],
        }
        plugin = {"type": "macvlan", "master": "eth0", "ipam": ipam}
        document = {"cniVersion": "1.0.0", "name": "neutron", "plugins": [plugin]}
        return json.dumps(document, indent=2) + "\n"

    def _is_plugged(self) -> bool:
        fabric = self._switch.namespace
        return (
            namespaces.has_link(fabric, self._link)
            and namespaces.has_link(self.node.namespace, "eth0")
            and self._switch.is_plugged(self._link)
        )

    def _plug(self) -> None:
        self._make_cable(self._facts.get("mac", ""))
        self._plug_in()

    def _plug_in(self) -> None:
        facts = self._facts
        if facts["kind"] == "bare":
            self._switch.plug(self._link, "br-ex")
        else:
            ids = {"iface_id": facts["port_id"], "attached_mac": facts["mac"]}
            self._switch.plug(self._link, "br-int", **ids, iface_status="active")

    def _make_cable(self, mac: str) -> None:
        """A veth from the switch to ``eth0``, which has `mac`, in the node's namespace."""
        mtu = self._facts["mtu"]
        make_cable(self._switch, self._link, self.node.namespace, mtu=mtu, mac=mac)

    def _network(self) -> Iterator[list[str]]:
        """What a VM's cloud-init or DHCP client would do, as arguments of ``ip``."""
        yield ["link", "set", "eth0", "up"]
        for address in self._facts["addresses"]:
            nodad = ["nodad"] if ":" in address else []
            yield ["addr", "replace", address, "dev", "eth0", *nodad]
        for gateway in self._facts["gateways"]:
            family = f"-{ipaddress.ip_address(gateway).version}"
            yield [family, "route", "replace", "default", "via", gateway]
        for router in self._facts.get("metadata_by", []):
            yield ["route", "replace", metadata.ADDRESS, "via", router]


def bare_facts(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a new bare node beside `nodes`, with a free address of the external network."""
    taken = {address for node in nodes.values() for address in node["addresses"]}
    free = (f"172.24.4.{last}/{EXTERNAL_PREFIX}" for last in range(10, 100))
    return {
        "kind": "bare",
        "network": "external",
        "mtu": 1500,
        "addresses": [next(address for address in free if address not in taken)],
        "gateways": [INTERNET_ADDRESS],
    }


def _clouds(is_server: bool) -> str:
    """clouds.yaml: everything a client needs, since the lab's APIs ask nobody who he is."""
    url = f"http://{API_ADDRESS}:{API_PORT}"
    return (
        "clouds:\n"
        "  lab:\n"
        "    auth_type: none\n"
        "    auth:\n"
        f"      endpoint: {url}\n"
        f"    network_endpoint_override: {url}\n"
        + (f"    compute_endpoint_override: {NODE_URL}\n" if is_server else "")
    )


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for program in source.iterdir():
        copy = target / program.name
        # The copy has the original's time: one of an older version differs in it.
        if not (copy.exists() and filecmp.cmp(program, copy)):
            shutil.copy2(program, copy)

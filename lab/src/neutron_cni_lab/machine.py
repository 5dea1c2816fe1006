"""Making a node: its namespaces and file system, its NIC, and what an operator puts on it."""

import filecmp
import ipaddress
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neutron_cni_lab import folders, metadata, namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.neutron import API_PORT
from neutron_cni_lab.node import Node
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import all_of, daemon, end, wait_until
from neutron_cni_lab.switch import (
    API_ADDRESS,
    EXTERNAL_PREFIX,
    INTERNET_ADDRESS,
    Switch,
    make_cable,
)

_SETUP = Path(__file__).parent / "node.sh"
_CONFLIST = "10-neutron-cni.conflist"


class Machine:
    """The parts of one node on this host; every method is harmless twice."""

    def __init__(self, places: Places, switch: Switch, name: str, facts: Mapping[str, Any]) -> None:
        self._places = places
        self._switch = switch
        self._facts = facts
        self.node = Node(places, name, facts)
        self._folder = places.node(name)
        key = facts.get("port_id", name)
        self._link = f"tap{key[:11]}"  # as Nova calls a VM's device; 14 characters at most

    def ensure(self, programs: Path) -> None:
        """Have the node running, plugged in and set up; one whose holder died is booted anew."""
        if not self._is_whole():
            self.stop()
            namespaces.ensure(self._places, self.node.namespace)
            self._write_files(programs)
            self._hold()
        if not self._is_plugged():
            self._plug()
        self._address()

    def stop(self) -> None:
        """Pull the plug: processes, devices, routes and /run are lost, /var/lib and /etc stay."""
        self._end_processes()
        self._switch.unplug(self._link)
        namespaces.remove(self.node.namespace)

    def unplug(self) -> None:
        """Take the NIC out; the rest of the node goes on."""
        self._switch.unplug(self._link)
        namespaces.ip(self.node.namespace, "link", "del", "eth0", check=False)

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
        network = self._etc / "cni" / "net.d" / _CONFLIST
        if self._facts["kind"] == "vm" and not network.exists():
            command += ["--conf-dir", "/etc/cni/net.d", "--conf-name", _CONFLIST, "--cloud", "lab"]
        self.node.exec(command)
        if not network.exists():
            script = f"mkdir -p /etc/cni/net.d && cat >/etc/cni/net.d/{_CONFLIST}"
            self.node.exec(["sh", "-c", script], input=self._bare_conflist())

    def _is_whole(self) -> bool:
        """Whether the holder lives, in the namespace that now has the node's name."""
        pid = self.node.pid
        return pid is not None and namespaces.holds(self.node.namespace, pid)

    def _end_processes(self) -> None:
        """End the holder and everything that runs with the node's mounts or in its namespace."""
        inode = namespaces.inode(self.node.namespace)
        inodes = [] if inode is None else [inode]
        end(all_of(self._places.folder, inodes, within=self._folder), patience=1)
        (self._folder / "pid").unlink(missing_ok=True)

    def _write_files(self, programs: Path) -> None:
        root = self._folder / "root"
        for part in ("etc", "opt", "usr-local"):
            (root / part / "upper").mkdir(parents=True, exist_ok=True)
            work = root / part / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        (root / "var-lib" / "root").mkdir(parents=True, exist_ok=True)
        etc = self._etc
        _write(etc / "hostname", f"{self.node.name}\n")
        _write(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.node.name}\n::1 localhost\n")
        _write(etc / "openstack" / "clouds.yaml", _clouds(), mode=0o600)
        _copy(programs / "bin", root / "opt" / "upper" / "cni" / "bin")
        _copy(programs / "tools", root / "usr-local" / "upper" / "bin")

    @property
    def _etc(self) -> Path:
        """What the node has in its /etc beyond the host's."""
        return self._folder / "root" / "etc" / "upper"

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

    def _hold(self) -> None:
        """Start the process that keeps the node's mount, host name and network namespaces."""
        log = self._places.logs / f"{self.node.name}.log"
        log.unlink(missing_ok=True)
        unshare = ["unshare", "--mount", "--uts", "--propagation=slave"]
        daemon(
            namespaces.inside(
                self.node.namespace, [*unshare, "sh", _SETUP, self.node.name, self._folder]
            ),
            env=self._places.environment,
            log=log,
        )
        try:
            wait_until(lambda: self.node.pid is not None, f"node {self.node.name}", 30)
        except LabError as error:
            raise LabError(error.message, f"It said: {log.read_text()[-1000:]}") from None

    def _is_plugged(self) -> bool:
        fabric = self._switch.namespace
        return (
            namespaces.has_link(fabric, self._link)
            and namespaces.has_link(self.node.namespace, "eth0")
            and self._switch.is_plugged(self._link)
        )

    def _plug(self) -> None:
        namespace, facts = self.node.namespace, self._facts
        make_cable(self._switch, self._link, namespace, mtu=facts["mtu"], mac=facts.get("mac", ""))
        if facts["kind"] == "bare":
            self._switch.plug(self._link, "br-ex")
        else:
            ids = {"iface_id": facts["port_id"], "attached_mac": facts["mac"]}
            self._switch.plug(self._link, "br-int", **ids)

    def _address(self) -> None:
        """What a VM's cloud-init or DHCP client would do."""
        namespace = self.node.namespace
        namespaces.ip(namespace, "link", "set", "eth0", "up")
        for address in self._facts["addresses"]:
            nodad = ["nodad"] if ":" in address else []
            namespaces.ip(namespace, "addr", "replace", address, "dev", "eth0", *nodad)
        for gateway in self._facts["gateways"]:
            family = f"-{ipaddress.ip_address(gateway).version}"
            namespaces.ip(namespace, family, "route", "replace", "default", "via", gateway)
        for router in self._facts.get("metadata_by", []):
            namespaces.ip(namespace, "route", "replace", metadata.ADDRESS, "via", router)


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


def _clouds() -> str:
    """clouds.yaml: everything a client needs, since the lab's API asks nobody who he is."""
    url = f"http://{API_ADDRESS}:{API_PORT}"
    return (
        "clouds:\n"
        "  lab:\n"
        "    auth_type: none\n"
        "    auth:\n"
        f"      endpoint: {url}\n"
        f"    network_endpoint_override: {url}\n"
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

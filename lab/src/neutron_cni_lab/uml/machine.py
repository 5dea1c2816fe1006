"""A node with a kernel of its own: a user-mode Linux VM."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neutron_cni_lab import namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.machine import Layer, Machine
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import all_of, daemon, end, run, running, wait_until
from neutron_cni_lab.switch import Switch
from neutron_cni_lab.uml import vm
from neutron_cni_lab.uml.kernel import Kernel
from neutron_cni_lab.uml.nics import NO_ECHO, VirtualNics, argument, silence

_MEMORY = "512M"
_DISK = "2G"
_WAY, _WAY_IN = "way", "wayin"
_WAY_MAC = "02:00:64:40:00:02"
_NETWORK = "neutron-cni-lab/network.sh"
_BOOT_SECONDS = 120


class VirtualMachine(Machine):
    """A VM whose disk is above the host's file system, which it sees. Not a wall: its root is ours.

    Its processes are in the network namespace of the node's name, where its NIC is a packet socket
    on ``eth0``: the cable that namespace nodes have, with the host's stack silent on it.
    """

    def __init__(
        self,
        places: Places,
        switch: Switch,
        name: str,
        facts: Mapping[str, Any],
        kernel: Kernel,
        noreboot: bool = False,
    ) -> None:
        super().__init__(places, switch, name, facts)
        self._kernel = kernel
        self._noreboot = noreboot
        self.nics = VirtualNics(places, switch, self.node)
        self._seed = self._folder / "seed"
        self._disk = self._folder / "disk.img"

    def stop(self) -> None:
        """As with other nodes; files that programs have written and not synced are kept as well."""
        pid = self.node.pid
        if pid is not None:
            enter = vm.enter(self.node.name, self._namespace_path, pid, wait=5)
            # A VM that hangs is not waited for: its power is pulled.
            run(["timeout", "--signal=KILL", "15", *enter, "sync"], check=False)
        super().stop()

    def unplug(self) -> None:
        """Switch it off: its NIC has the port's MAC from the start on."""
        self.stop()

    def _is_whole(self) -> bool:
        pid = self.node.pid
        holds = pid is not None and namespaces.holds(self.node.namespace, pid)
        return holds and self._is_plugged() and self.nics.are_plugged

    def _end_processes(self) -> None:
        """Also those that a kernel leaves behind when it is killed."""
        inode = namespaces.inode(self.node.namespace)
        inodes = [] if inode is None else [inode]
        pids = all_of(self._places.folder, inodes, within=self._folder)
        pids |= running(self._places.folder, f"uml_dir={self._folder}")
        end(pids, patience=1)
        shutil.rmtree(self._folder / vm.NAME, ignore_errors=True)

    def _layer(self, part: Layer) -> Path:
        return self._seed / part

    def _has_file(self, path: str) -> bool:
        return self.node.exec(["test", "-e", path], check=False).returncode == 0

    def _start(self) -> None:
        network = self._layer("etc") / _NETWORK
        network.parent.mkdir(parents=True, exist_ok=True)
        network.write_text("".join(f"ip {' '.join(words)}\n" for words in self._network()))
        self._make_disk()
        shutil.copy(self._kernel.no_echo, self._folder / NO_ECHO)
        self._plug()
        self.nics.plug()
        self._make_way_in()
        log = self._new_log()
        environment = {
            **self._places.environment,
            **self._kernel.environment,
            "LAB_VM_PROGRAM": str(self._kernel.program),
            "LAB_VM_FOLDER": str(self._folder),
        }
        memory = _memory_folder()
        if memory:
            environment["TMPDIR"] = memory
        daemon(namespaces.inside(self.node.namespace, self._command()), env=environment, log=log)
        self._wait_for_agent(log)

    def _make_disk(self) -> None:
        if self._disk.exists():
            return
        new = self._disk.with_suffix(".new")
        new.unlink(missing_ok=True)
        run(["truncate", "--size", _DISK, new])
        # With a journal, as the VM may be killed; a small one, as the file is sparse.
        lazy = "lazy_itable_init=1,lazy_journal_init=1"
        run(["mkfs.ext4", "-q", "-J", "size=8", "-E", lazy, new])
        new.rename(self._disk)

    def _make_cable(self, mac: str) -> None:
        """The host's end has another MAC than the VM, and the host's stack is silent on it."""
        super()._make_cable(mac="")
        silence(self.node.namespace, "eth0")

    def _make_way_in(self) -> None:
        """A second cable, both ends of it in this namespace, by which commands come in."""
        namespace = self.node.namespace
        if namespaces.has_link(namespace, _WAY):
            return
        peer = ["type", "veth", "peer", "name", _WAY_IN]
        namespaces.ip(namespace, "link", "add", _WAY, *peer)
        for end_ in (_WAY, _WAY_IN):
            setting = f"net.ipv6.conf.{end_}.disable_ipv6=1"
            run(namespaces.inside(namespace, ["sysctl", "-qw", setting]))
            run(namespaces.inside(namespace, ["ethtool", "-K", end_, "tx", "off"]))
        namespaces.ip(namespace, "addr", "add", f"{vm.HOST_ADDRESS}/30", "dev", _WAY)
        namespaces.ip(namespace, "link", "set", _WAY, "up")
        namespaces.ip(namespace, "link", "set", _WAY_IN, "arp", "off", "up")
        # Known beforehand: who asks for it while the VM boots would ask again only a second later.
        neighbour = [vm.ADDRESS, "lladdr", _WAY_MAC, "nud", "permanent", "dev", _WAY]
        namespaces.ip(namespace, "neigh", "replace", *neighbour)

    def _command(self) -> list[str | Path]:
        return [
            vm.HERE / "boot.py",
            *(f"umid={vm.NAME}", f"uml_dir={self._folder}", f"mem={_MEMORY}"),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
            *(f"init={vm.HERE / 'init.sh'}", *(["noreboot"] if self._noreboot else [])),
            argument("vec0", "eth0", self._mac, 128, self._facts["mtu"]),
            argument("vec7", _WAY_IN, _WAY_MAC, 64),
            f"ubd0={self._disk}",
            *("con=null", "con0=null,fd:1", "ssl=null"),
            *(f"lab_node={self.node.name}", f"lab_seed={self._seed}", f"lab_address={vm.ADDRESS}"),
            *(f"lab_modules={self._kernel.modules}", f"lab_guest={vm.HERE}"),
        ]

    @property
    def _mac(self) -> str:
        """The port's; a bare node's is made from its name, the same at each boot."""
        digest = hashlib.sha256(self.node.namespace.encode()).hexdigest()
        made = ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])
        return str(self._facts.get("mac") or made)

    def _wait_for_agent(self, log: Path) -> None:
        hint = f"`neutron-cni lab logs {self.node.name}` shows what it said: {_end_of(log)}"
        begun = f"node {self.node.name}"
        try:
            wait_until(lambda: self.node.pid is not None, begun, 30)
        except LabError as error:
            raise LabError(error.message, f"It said: {_end_of(log)}") from None
        done = self.node.exec(["true"], check=False, timeout=_BOOT_SECONDS)
        if done.returncode:
            raise LabError(f"{begun} did not boot: {done.stderr.strip()}", hint)

    def _address(self) -> None:
        self.node.exec(["sh", "-e", f"/etc/{_NETWORK}"])

    @property
    def _namespace_path(self) -> str:
        return f"/run/netns/{self.node.namespace}"


def _memory_folder() -> str:
    """Where the VM's memory is a file: the kernel's own choice is /dev/shm, if there is room."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return "/var/tmp"
    return "" if found.f_bavail * found.f_frsize > 1 << 30 else "/var/tmp"


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:]

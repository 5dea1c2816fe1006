"""Hot-plug of a VM's NICs: the cable to the VM's place on the host, and the VM's console."""

from pathlib import Path

from neutron_cni_lab import namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.nics import Nic, Nics, replace
from neutron_cni_lab.processes import run
from neutron_cni_lab.switch import make_cable
from neutron_cni_lab.uml import console, vm

NO_ECHO = "no-echo"
"""The filter of a VM's NICs (`uml.kernel.NO_ECHO`), as a file in the node's folder, which is the
VM's working folder: with 31 NICs the kernel's command line, of 4096 bytes, is nearly full."""

ARGUMENTS = "nics.arguments"
"""The file in the node's folder with the kernel's arguments for its NICs, one a line (boot.py)."""

_RELEASE = vm.HERE / "release.py"
_TRIES = 5


class VirtualNics(Nics):
    """Of a VM. Inside, a NIC is called ``vecN``, N being its slot, until somebody renames it."""

    def _make_cable(self, nic: Nic) -> None:
        device = _device(nic)
        make_cable(self._switch, nic.link, self._node.namespace, nic.mtu, device=device)
        silence(self._node.namespace, device)

    def _insert(self, nic: Nic) -> None:
        console.ask(self._folder, f"config {_argument(nic)}")

    def _withdraw(self, nic: Nic) -> None:
        """The VM's kernel refuses while it is up: then it is set down, wherever in the VM it is.

        A real machine's guest does that by itself when it is asked to let the device go, and may as
        well not answer.
        """
        release: list[str | Path] = ["/usr/bin/python3", "-I", "-S", _RELEASE, str(nic.slot)]
        for tries_left in reversed(range(_TRIES)):
            try:
                console.ask(self._folder, f"remove {_unit(nic)}")
            except console.NoDevice:
                return
            except LabError:
                if not tries_left:
                    raise
                self._node.exec(release, timeout=60)
            else:
                return

    def _note(self, nics: list[Nic]) -> None:
        super()._note(nics)
        arguments = "".join(f"{_argument(nic)}\n" for nic in nics)
        replace(self._folder / ARGUMENTS, arguments)


def silence(namespace: str, device: str) -> None:
    """Have `device` up and the host's stack silent on it: the VM alone speaks there."""
    setting = f"net.ipv6.conf.{device}.disable_ipv6=1"
    run(namespaces.inside(namespace, ["sysctl", "-qw", setting]))
    namespaces.ip(namespace, "link", "set", device, "arp", "off", "up")


def argument(unit: str, device: str, mac: str, depth: int, mtu: int = 0) -> str:
    """What makes NIC `unit` of a packet socket on the host's `device`, to kernel or console."""
    size = f",mtu={mtu}" if mtu else ""
    socket = f"transport=raw,bpffile={NO_ECHO},ifname={device}"
    return f"{unit}:{socket},depth={depth},mac={mac}{size}"


def _argument(nic: Nic) -> str:
    return argument(_unit(nic), _device(nic), nic.mac, 128, nic.mtu)


def _unit(nic: Nic) -> str:
    return f"vec{nic.slot}"


def _device(nic: Nic) -> str:
    return f"nic{nic.slot}"

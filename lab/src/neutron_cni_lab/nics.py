"""The NICs of a node beyond its first: what Nova attached, and the node has again when it boots.

Nova's environment imports this too (`neutron_cni_lab.nova.inside`), so nothing that it imports may
need more than the standard library.
"""

import json
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from neutron_cni_lab import namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked
from neutron_cni_lab.node import Node
from neutron_cni_lab.paths import Places
from neutron_cni_lab.switch import Switch, make_cable

_SLOTS = (*range(1, 7), *range(8, 32))
"""Of the 32 that a PCI bus has: the first is the first NIC's, the eighth that of a VM's way in."""


@dataclass(frozen=True)
class Nic:
    """One NIC: the Neutron port it stands for, and where it is plugged in."""

    port_id: str
    mac: str
    mtu: int
    slot: int

    @property
    def link(self) -> str:
        """Its end of the cable in the fabric; as Nova calls a VM's device."""
        return f"tap{self.port_id[:11]}"


class Nics(ABC):
    """Of one node. The list outlives a reboot; what is plugged in does not."""

    def __init__(self, places: Places, switch: Switch, node: Node) -> None:
        self._switch = switch
        self._node = node
        self._folder = places.node(node.name)
        self._file = self._folder / "nics.json"

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else changes the node's NICs, or switches the node on or off, meanwhile."""
        return locked(self._folder / "nics.lock")

    @property
    def listed(self) -> list[Nic]:
        """All, plugged in or not."""
        try:
            found = json.loads(self._file.read_text())
        except FileNotFoundError:
            return []
        return [Nic(**nic) for nic in found]

    def attach(self, port_id: str, mac: str, mtu: int) -> None:
        """Put a NIC in: at once, or at the next boot of a node that is off. Harmless twice.

        `LabError` when the node has no room, or refuses; nothing is there then.
        """
        with self.locked():
            listed = self.listed
            if any(nic.port_id == port_id for nic in listed):
                return
            free = set(_SLOTS) - {nic.slot for nic in listed}
            if not free:
                raise LabError(
                    f"{self._node.name} has no free slot for a NIC: it has {len(_SLOTS)}"
                )
            nic = Nic(port_id, mac, mtu, min(free))
            self._note([*listed, nic])
            if self._node.pid is None:
                return
            try:
                self._plug(nic)
                self._insert(nic)
            except LabError:
                self._unplug(nic)
                self._note(listed)
                raise

    def detach(self, port_id: str) -> None:
        """Take the NIC away, wherever in the node it is by now. Harmless twice.

        `LabError` when the node does not let it go: then it stays.
        """
        with self.locked():
            listed = self.listed
            for nic in listed:
                if nic.port_id == port_id:
                    if self._node.pid is not None:
                        self._withdraw(nic)
                    self._unplug(nic)
            self._note([nic for nic in listed if nic.port_id != port_id])

    @property
    def are_plugged(self) -> bool:
        """Whether all that are listed are in the switch."""
        return all(self._switch.is_plugged(nic.link) for nic in self.listed)

    def plug(self) -> None:
        """Have all cables that are missing; what runs on the node does not hear of it by this."""
        for nic in self.listed:
            if not self._switch.is_plugged(nic.link):
                self._plug(nic)

    def unplug(self) -> None:
        """Pull all plugs of a node that is switched off; it has them again at its next start."""
        for nic in self.listed:
            self._switch.unplug(nic.link)

    def _plug(self, nic: Nic) -> None:
        self._make_cable(nic)
        self._switch.plug(
            nic.link, "br-int", iface_id=nic.port_id, attached_mac=nic.mac, iface_status="active"
        )

    def _unplug(self, nic: Nic) -> None:
        self._switch.unplug(nic.link)
        if namespaces.has_link(self._switch.namespace, nic.link):
            namespaces.ip(self._switch.namespace, "link", "del", nic.link)

    def _note(self, nics: list[Nic]) -> None:
        """Replace the list at once: a reader sees the old one or the new one."""
        replace(self._file, json.dumps([asdict(nic) for nic in nics], indent=2) + "\n")

    @abstractmethod
    def _make_cable(self, nic: Nic) -> None:
        """From the fabric to the node."""

    @abstractmethod
    def _insert(self, nic: Nic) -> None:
        """Tell the node, which runs, of a NIC whose cable is there."""

    @abstractmethod
    def _withdraw(self, nic: Nic) -> None:
        """Have the node, which runs, let the NIC go."""


class NamespaceNics(Nics):
    """Of a node with the host's kernel: the NIC is the cable's other end, and goes with it."""

    def _make_cable(self, nic: Nic) -> None:
        """Its name is the next free one in the node; who is told of it may give it another."""
        namespace = self._node.namespace
        used = {link["ifname"] for link in json.loads(namespaces.ip(namespace, "-j", "link"))}
        names = (f"eth{number}" for number in range(1, len(used) + 2))
        device = next(name for name in names if name not in used)
        make_cable(self._switch, nic.link, namespace, nic.mtu, nic.mac, device)

    def _insert(self, nic: Nic) -> None:
        """The kernel has told."""

    def _withdraw(self, nic: Nic) -> None:
        """It goes with the fabric's end, also from the namespace of a pod."""


def replace(file: Path, text: str) -> None:
    """Write `text` to `file` so that nobody sees a half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)

"""NICs that Nova gives this VM and takes from it, one at a time: what `nova_interface` is made of.

What is true is read at the port: Nova writes the server into its `device_id` before it asks the
hypervisor, and empties it when the NIC is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from neutron_cni.ipam.locate import vm_port
from neutron_cni.ipam.modes import unmanaged
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.room import Limit, no_nic
from neutron_cni.ipam.server import this_server
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    Forbidden,
    NotFound,
    ObjectInUse,
    Refused,
    ServerBusy,
    ServerLocked,
)
from neutron_cni.openstack.nova import Nova
from neutron_cni.openstack.types import Port
from neutron_cni.store import State
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

EXTRA_SPEC = "neutron-cni:max_nics"
"""The extra spec of a flavor by which a cloud's operator says how many NICs its servers take."""
REFUSED_SECONDS = 600.0
"""How long a number of NICs at which the hypervisor refused one more twice is believed to be the
most. One refusal may have any reason."""
LOOK_SECONDS = 0.5
"""The pause between two looks whether a NIC has gone."""
ROOM_SECONDS = 10.0
"""How long is waited for one to go, by whoever needs its place."""
_BY_HYPERVISOR = "Failed to attach network adapter"
"""Of what Nova says when it has given the port back, as the hypervisor refused the NIC."""
KEPT = (ObjectInUse, ServerBusy, ServerLocked, Forbidden, Refused)
"""Refusals after which a NIC stays for now, and is tried again later."""


@dataclass
class Nics:
    """The NICs of this VM. Every method raises CniError when the cloud can't be asked."""

    context: Context
    _added: set[str] = field(default_factory=set)

    @cached_property
    def nova(self) -> Nova:
        """Nova of the same cloud."""
        return Nova.beside(self.context.neutron)

    @cached_property
    def server(self) -> str:
        """The id of the server that this VM is."""
        config, store, neutron = self.context.config, self.context.store, self.context.neutron
        port = vm_port(config, store, neutron, self.context.uplink)
        return this_server(port, config.metadata_url, neutron.deadline)

    def limit(self) -> Limit:
        """The NICs that the VM has, and how many it may have as far as anybody told."""
        return Limit(self._used, self._most)

    def require_room(self) -> None:
        """Raise CniError EXHAUSTED if the VM has all the NICs that it may have, and none that Nova
        was asked for lately goes within ROOM_SECONDS."""
        while (limit := self.limit()).reached:
            if not self._going or self._patience.left <= LOOK_SECONDS:
                raise no_nic(limit)
            time.sleep(LOOK_SECONDS)
            del self._attached

    @cached_property
    def _patience(self) -> Deadline:
        return self.context.deadline.at_most(ROOM_SECONDS)

    @property
    def _going(self) -> bool:
        """Whether the VM still has a NIC of a lease that was released a moment ago."""
        since = time.time() - 3 * ROOM_SECONDS
        records = self.context.records()
        released = [r for r in records if r.state is State.RELEASED and r.changed >= since]
        return any(x.port_id in self._attached for record in released for x in record.addresses)

    def has(self, port_id: str) -> bool:
        """Whether the VM has the port as a NIC, or Nova was just asked for it."""
        return port_id in self._attached | self._added

    @property
    def _used(self) -> int:
        return len(self._attached | self._added)

    @cached_property
    def _attached(self) -> set[str]:
        return {item.port_id for item in self.nova.interfaces(self.server)}

    @cached_property
    def _most(self) -> int | None:
        """By the configuration, or else by the flavor, or else by a refusal of late."""
        configured = self.context.config.max_nics
        if configured is not None:
            return configured
        said = self.nova.server(self.server).extra_specs.get(EXTRA_SPEC, "")
        return int(said) if said.isdecimal() else self._learnt[1]

    @property
    def _learnt(self) -> tuple[int, int | None]:
        """At how many NICs the hypervisor refused one more lately (0: at none), and the limit that
        this makes: none until it did so twice."""
        used, _, times = (self.context.store.fact(self._refusal, REFUSED_SECONDS) or "").partition(
            " "
        )
        if not (used.isdecimal() and times.isdecimal()):
            return 0, None
        return int(used), int(used) if int(times) > 1 else None

    @property
    def _refusal(self) -> str:
        """The fact that says at how many NICs the hypervisor refused one more."""
        return f"nics-refused|{self.server}"

    def attach(self, port: Port) -> None:
        """Have Nova give this VM the NIC of a port that we made, or see that it has begun to.
        From then on nobody else on the node is to configure it.

        Raises CniError where it has not: EXHAUSTED if the VM has all that it may have, CONFLICT if
        another server has the port, else as Nova says.
        """
        unmanaged.announce(self._state_dir, port.mac)
        if self._is_here(port):
            return
        self.require_room()
        try:
            self.nova.attach(self.server, port.id)
        except (AnswerLost, ObjectInUse) as error:
            # Nova may have begun all the same; whether the NIC comes is seen on the node.
            if not self._is_here(self._read_after(error, port.id)):
                self._learn(error)
                raise
        self._added.add(port.id)
        if self._used > self._learnt[0]:
            self.context.store.remember(self._refusal, None)

    def _read_after(self, error: CloudError, port_id: str) -> Port:
        """The port, which tells what Nova did. Raises AnswerLost where it can't be read: a refusal
        of that is none of Nova's, and Nova may be at work."""
        try:
            return self.context.neutron.port(port_id)
        except CniError as other:
            raise AnswerLost(
                error.code, f"{error.message}; {other.message}", error.details
            ) from other

    def _is_here(self, port: Port) -> bool:
        if port.device_id in ("", self.server):
            return port.device_id == self.server
        raise _of_another(port, port.device_id)

    def _learn(self, error: CniError) -> None:
        """Note that the hypervisor refused: a full bus is the usual reason."""
        if _BY_HYPERVISOR in error.message:
            times = 2 if self._learnt[0] == self._used else 1
            self.context.store.remember(self._refusal, f"{self._used} {times}")

    def ask_to_detach(self, port: Port) -> bool:
        """Have Nova take the NIC of the port away from this VM.

        Whether nobody has it. Nova does it after its answer, and asking again does no harm. Raises
        ObjectInUse where another server has it, whose pod may be using it: this VM's disk, and with
        it the store, may be a copy of that one's.
        """
        if self.has_gone(port):
            return True
        server = port.device_id
        try:
            if server != self.server:
                raise _of_another(port, self.nova.server(server).id)
            request = self.nova.detach(server, port.id)
        except NotFound:
            return True  # There is no such server any more.
        # Of interest where it stays so: how it ended is told by nobody but Nova.
        how = f" (openstack server event show {server} {request})" if request else ""
        self._note(
            port, f"Nova was asked to detach it from server {server}, which has it still{how}"
        )
        return False

    def has_gone(self, port: Port) -> bool:
        """Whether no server has the port's NIC; its MAC is nobody's then."""
        if not port.device_id:
            self._note(port, None)
            self.forget(port.mac)
        return not port.device_id

    def forget(self, mac: str) -> None:
        """The NIC with this MAC does not come, or has gone with its port."""
        unmanaged.withdraw(self._state_dir, mac)

    @property
    def _state_dir(self) -> str:
        return str(self.context.store.path.parent)

    def _note(self, port: Port, what: str | None) -> None:
        """Write down what is in the way of the port's addresses, for `neutron-cni leases`."""
        self.context.note_blocked((item.address for item in port.fixed_ips), what)


def _of_another(port: Port, server: str) -> ObjectInUse:
    return ObjectInUse(
        Code.CONFLICT,
        f"server {server}, which is not this VM, has port {port.id} as a NIC",
        "did this VM get the disk of that one? Otherwise: openstack server remove port "
        f"{server} {port.id}",
    )


def is_certain(error: CniError) -> bool:
    """Whether Nova has not begun to attach, and will not: it said no, or gave the port back."""
    if isinstance(error, AnswerLost):
        return _BY_HYPERVISOR in error.message
    # Somebody else has the port; or what Nova did could not be written down.
    return not isinstance(error, ObjectInUse) and error.code != Code.STORE


def one_by_one(steps: list[Callable[[], None]]) -> CniError | None:
    """Take every step, also after one that failed; the first failure."""
    failures: list[CniError] = []
    for step in steps:
        try:
            step()
        except CniError as error:
            failures.append(error)
    return failures[0] if failures else None

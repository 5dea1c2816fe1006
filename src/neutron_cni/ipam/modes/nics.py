"""NICs that Nova gives this VM and takes from it, one at a time: what `nova_interface` is made of.

What is true is read at the port: Nova writes the server into its `device_id` before it asks the
hypervisor, and empties it when the NIC is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from neutron_cni.ipam.anchors import blocked_fact
from neutron_cni.ipam.locate import vm_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.room import Limit, no_nic
from neutron_cni.ipam.server import this_server
from neutron_cni.openstack.errors import (
    AnswerLost,
    Forbidden,
    NotFound,
    ObjectInUse,
    Refused,
    ServerBusy,
    ServerLocked,
)
from neutron_cni.openstack.nova import Nova
from neutron_cni.openstack.types import Port
from neutron_cni.values.errors import CniError, Code

EXTRA_SPEC = "neutron-cni:max_nics"
"""The extra spec of a flavor by which a cloud's operator says how many NICs its servers take."""
REFUSED_SECONDS = 600.0
"""How long a number of NICs at which the hypervisor refused one more is believed to be the most."""
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
        return Limit(len(self._attached | self._added), self._most)

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
        learnt = self.context.store.fact(self._refusal, REFUSED_SECONDS) or ""
        return next((int(text) for text in (said, learnt) if text.isdigit()), None)

    @property
    def _refusal(self) -> str:
        """The fact that says at how many NICs the hypervisor refused one more."""
        return f"nics-refused|{self.server}"

    def attach(self, port: Port) -> None:
        """Have Nova give this VM the NIC of a port that we made, or see that it has begun to.

        Raises CniError where it has not: EXHAUSTED if the VM has all that it may have, CONFLICT if
        another server has the port, else as Nova says.
        """
        if self._is_here(port):
            return
        limit = self.limit()
        if limit.reached:
            raise no_nic(limit)
        try:
            self.nova.attach(self.server, port.id)
        except (AnswerLost, ObjectInUse) as error:
            # Nova may have begun all the same; whether the NIC comes is seen on the node.
            if not self._is_here(self.context.neutron.port(port.id)):
                self._learn(error)
                raise
        self._added.add(port.id)
        self.context.store.remember(self._refusal, None)

    def _is_here(self, port: Port) -> bool:
        if port.device_id in ("", self.server):
            return port.device_id == self.server
        raise CniError(
            Code.CONFLICT,
            f"port {port.id} was made for a NIC of this VM, server {self.server}, and "
            f"{port.device_id} has it",
            "did this VM get the disk of another one? The port is given back",
        )

    def _learn(self, error: CniError) -> None:
        """Nova gave the port back: the hypervisor refused, and a full bus is the usual reason."""
        if "Failed to attach network adapter" in error.message:
            used = len(self._attached | self._added)
            self.context.store.remember(self._refusal, str(used))

    def ask_to_detach(self, port: Port) -> bool:
        """Have Nova take the NIC of the port away, from whichever server has it.

        Whether nobody has it. Nova does it after its answer, and asking again does no harm.
        """
        if not port.device_id:
            return True
        blocked = [blocked_fact(self.context.anchor, item.address) for item in port.fixed_ips]
        try:
            self.nova.detach(port.device_id, port.id)
        except NotFound:
            return True  # There is no such server any more.
        except KEPT as error:
            for fact in blocked:
                self.context.store.remember(fact, str(error))
            raise
        for fact in blocked:
            self.context.store.remember(fact, None)
        return False


def one_by_one(steps: list[Callable[[], None]]) -> None:
    """Take every step, also after one that failed; then raise the first failure."""
    failures: list[CniError] = []
    for step in steps:
        try:
            step()
        except CniError as error:
            failures.append(error)
    if failures:
        raise failures[0]

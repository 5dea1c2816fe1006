"""The Nova servers that the lab's nodes are: each has its node's name, and its port first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.processes import wait_until

_FLAVOR = "1"
_IMAGE = "11111111-2222-3333-4444-555555555555"
"""That of `inside.images`: no server of the lab has a disk of Nova's."""
_HINT = "`neutron-cni lab logs nova` tells more."


class Servers:
    """By way of `cloud`, a connection whose compute endpoint is the lab's Nova."""

    def __init__(self, cloud: Any) -> None:
        self._network = cloud.network
        self._compute = cloud.compute

    def prepare(self) -> None:
        """Have the flavor that all of them are of."""
        if not any(flavor.id == _FLAVOR for flavor in self._compute.flavors()):
            self._compute.create_flavor(id=_FLAVOR, name="node", ram=64, vcpus=1, disk=0)

    def ensure(self, name: str, port_id: str) -> tuple[str, bool]:
        """The id of the server that has port `port_id`, and whether it was made for that now.

        Nova takes only a port that nobody has, and binds it anew.
        """
        port = self._network.get_port(port_id)
        if self._is_server(port.device_id):
            return str(port.device_id), False
        self._network.update_port(port_id, device_id="", device_owner="", binding_host_id="")
        made = self._compute.create_server(
            name=name, image_id=_IMAGE, flavor_id=_FLAVOR, networks=[{"port": port_id}]
        )
        self._wait(made.id, "ACTIVE")
        return str(made.id), True

    def delete(self, server_id: str) -> None:
        """Delete it, and wait until Nova has taken all of its ports from it."""
        self._compute.delete_server(server_id)
        what = f"server {server_id} to be gone"
        wait_until(lambda: not self._is_server(server_id), what, 60, _HINT)

    def note_stopped(self, server_id: str) -> None:
        """Have it SHUTOFF: its node has been switched off."""
        if self._state(server_id) == ("ACTIVE", None):
            self._compute.stop_server(server_id)
            self._wait(server_id, "SHUTOFF")

    def note_started(self, server_id: str) -> None:
        """Have it ACTIVE, if it is SHUTOFF: its node has been switched on."""
        if self._state(server_id) == ("SHUTOFF", None):
            self._compute.start_server(server_id)
            self._wait(server_id, "ACTIVE")

    @contextmanager
    def refusing(self, server_id: str) -> Iterator[None]:
        """Have it in state ERROR during the block, in which it takes and gives no NIC (409)."""
        self._compute.reset_server_state(server_id, "error")
        try:
            yield
        finally:
            self._compute.reset_server_state(server_id, "active")

    def _state(self, server_id: str) -> tuple[str, str | None]:
        """Its status and the task that is under way."""
        server = self._compute.get_server(server_id)
        return server.status, server.task_state

    def _is_server(self, server_id: str) -> bool:
        found = self._compute.find_server(server_id, ignore_missing=True) if server_id else None
        return found is not None

    def _wait(self, server_id: str, status: str) -> None:
        def reached() -> bool:
            server = self._compute.get_server(server_id)
            if server.status == "ERROR":
                raise LabError(f"server {server.name} is in state ERROR: {server.fault}", _HINT)
            return bool(server.status == status and server.task_state is None)

        wait_until(reached, f"server {server_id} to be {status}", 120, _HINT)

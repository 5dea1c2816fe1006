"""The Compute API of the fake cloud: servers, and NICs in and out of them, as Nova 34 answers.

A server is in `Cloud.servers`; its NICs are the ports with its id, as Nova has it. What is asked of
Nova is done at once, detaching too unless the server is `slow`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.fakes.cloud import DEFAULT_PROJECT, Cloud, Json
from tests.fakes.refusals import Refusal

OWNER = "compute:nova"
"""`device_owner` of a port that is attached."""
_KINDS = {400: "badRequest", 403: "forbidden", 404: "itemNotFound", 409: "conflictingRequest"}
_FIT = ("active", "paused", "stopped")


@dataclass
class FakeServer:
    """A server; a test changes its state as it likes."""

    id: str
    vm_state: str = "active"
    task_state: str | None = None
    locked: bool = False
    extra_specs: dict[str, str] = field(default_factory=dict)
    detach_fails: bool = False
    """Whether the hypervisor keeps its NICs: what is asked ends in `Error`."""
    slow: bool = False
    """Whether a NIC is detached only when the test calls what is in `Cloud.later`."""
    actions: dict[str, Json] = field(default_factory=dict)
    """What was asked of it, by the request's id."""


class NovaRefusal(Refusal):
    """An answer with a status >= 400 as Nova writes it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, _KINDS.get(status, "computeFault"), message)

    def body(self) -> dict[str, Any]:
        """The JSON that Nova sends."""
        return {self.kind: {"code": self.status, "message": self.message}}


def new_server(cloud: Cloud) -> FakeServer:
    """One that is active."""
    made = FakeServer(str(UUID(int=cloud.random.getrandbits(128), version=4)))
    cloud.servers[made.id] = made
    return made


def show_server(cloud: Cloud, server_id: str) -> Json:
    """GET /servers/{id}"""
    server = _find(cloud, server_id)
    shown = {
        "id": server.id,
        "name": "a-name",
        "status": server.vm_state.upper(),
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:task_state": server.task_state,
        "locked": server.locked,
        "flavor": {"original_name": "node", "vcpus": 1, "extra_specs": server.extra_specs},
    }
    return {"server": shown}


def list_interfaces(cloud: Cloud, server_id: str) -> Json:
    """GET /servers/{id}/os-interface"""
    _find(cloud, server_id)
    found = [port for port in cloud.ports.values() if port["device_id"] == server_id]
    return {"interfaceAttachments": [_interface(port) for port in found]}


def attach(cloud: Cloud, server_id: str, body: Any) -> Json:
    """POST /servers/{id}/os-interface, by `port_id`."""
    with cloud.lock:
        server = _find(cloud, server_id)
        _require_fit(server, "attach_interface")
        port_id = body["interfaceAttachment"]["port_id"]
        port = cloud.ports.get(port_id)
        if port is None or port_id in cloud.hidden:
            raise NovaRefusal(404, f"Port id {port_id} could not be found.")
        if port["project_id"] != DEFAULT_PROJECT:
            raise NovaRefusal(400, f"Port {port_id} not usable for instance {server_id}.")
        if port["device_id"]:
            raise NovaRefusal(409, f"Port {port_id} is still in use.")
        port |= {"device_id": server_id, "device_owner": OWNER, "status": "ACTIVE"}
        cloud.bump(port)
        return {"interfaceAttachment": _interface(port)}


def detach(cloud: Cloud, server_id: str, port_id: str, request: str) -> None:
    """DELETE /servers/{id}/os-interface/{id}: accepted whatever the port is."""
    with cloud.lock:
        server = _find(cloud, server_id)
        _require_fit(server, "detach_interface")
        if server.slow:
            cloud.later.append(lambda: _detach(cloud, server, port_id, request))
        else:
            _detach(cloud, server, port_id, request)


def _detach(cloud: Cloud, server: FakeServer, port_id: str, request: str) -> None:
    with cloud.lock:
        port = cloud.ports.get(port_id)
        done = port is not None and port["device_id"] == server.id and not server.detach_fails
        if port is not None and done:
            port |= {"device_id": "", "device_owner": "", "status": "DOWN"}
            cloud.bump(port)
        event = {
            "event": "compute_detach_interface",
            "start_time": "2026-01-01T00:00:00.000000",
            "finish_time": "2026-01-01T00:00:01.000000",
            "result": "Success" if done else "Error",
        }
        server.actions[request] = {
            "action": "detach_interface",
            "request_id": request,
            "message": None if done else "Error",
            "events": [event],
        }


def show_action(cloud: Cloud, server_id: str, request: str) -> Json:
    """GET /servers/{id}/os-instance-actions/{request}"""
    found = _find(cloud, server_id).actions.get(request)
    if found is None:
        raise NovaRefusal(
            404, f"Action for request_id {request} on instance {server_id} not found."
        )
    return {"instanceAction": found}


def _find(cloud: Cloud, server_id: str) -> FakeServer:
    server: FakeServer | None = cloud.servers.get(server_id)
    if server is None:
        raise NovaRefusal(404, f"Instance {server_id} could not be found.")
    return server


def _require_fit(server: FakeServer, what: str) -> None:
    if server.locked:
        raise NovaRefusal(409, f"Instance {server.id} is locked")
    state = None
    if server.vm_state not in _FIT:
        state = f"vm_state {server.vm_state}"
    elif server.task_state:
        state = f"task_state {server.task_state}"
    if state:
        raise NovaRefusal(409, f"Cannot '{what}' instance {server.id} while it is in {state}")


def _interface(port: Json) -> Json:
    return {
        "port_id": port["id"],
        "net_id": port["network_id"],
        "mac_addr": port["mac_address"],
        "port_state": port["status"],
        "fixed_ips": port["fixed_ips"],
    }

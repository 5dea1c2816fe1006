"""The calls of Nova by which a server gets NICs and loses them, typed.

Source of every behaviour: Compute API reference (version 2.51), and Nova 34 as observed. All calls
are about ports that were made before: what a lost answer did can then be read at the port.
"""

from __future__ import annotations

from neutron_cni.openstack.calls import path
from neutron_cni.openstack.nova_service import NOVA
from neutron_cni.openstack.resources import Resources
from neutron_cni.openstack.shapes import Odd, mapping, member, objects
from neutron_cni.openstack.types import Interface, Outcome, Server


class Nova(Resources):
    """One cloud's Compute API, within one deadline.

    Each call, where the service is in the way and not the connection: Unauthorized (401) also for
    a call that the access rules of an application credential leave out; Forbidden (403) without
    the role that is named below.
    """

    service = NOVA

    def server(self, server_id: str) -> Server:
        """The server with that id. Raises NotFound, also for one of another project.

        Role reader.
        """
        doing = f"reading server {server_id}"
        raw = self._get(path("servers", server_id), doing)
        return self._understand(doing, lambda: Server.from_json(member(raw, "server")))

    def interfaces(self, server_id: str) -> list[Interface]:
        """The server's ports as Neutron knows them (those with its `device_id`), in no order.

        No proof of a NIC: a port is among them before its NIC is there, and also where it never
        comes. Raises NotFound for the server. Role reader.
        """
        doing = f"listing the NICs of server {server_id}"
        raw = self._get(path("servers", server_id, "os-interface"), doing)
        return self._understand(doing, lambda: _interfaces(raw))

    def attach(self, server_id: str, port_id: str) -> Interface:
        """Give the server the NIC of a port that nobody has, and wait until it has it (200).

        Takes a second, and more for each NIC that is there; of one server one after another. The
        port is DOWN for a moment more. Role member.

        Raises AnswerLost for 5xx and for no answer: the NIC may be there, may be coming for
        minutes, or never come; the port's `device_id` tells whether Nova has begun, and detaching
        ends it. ObjectInUse (409): the port has a `device_id`, this server's too, as when a try
        before this one has begun. ServerBusy, ServerLocked (409). NotFound: no such server or port.
        Refused (400): the port is another project's, or of a kind that Nova never attaches.
        """
        doing = f"attaching port {port_id} to server {server_id}"
        body = {"interfaceAttachment": {"port_id": port_id}}
        raw = self._change("POST", path("servers", server_id, "os-interface"), doing, body)
        return self._understand(doing, lambda: _attached(raw, port_id))

    def detach(self, server_id: str, port_id: str) -> str:
        """Have the NIC of the port taken away (202); the request's id for `outcome`.

        Nova accepts it at once, also for a port that is not attached or does not exist, and does it
        later: it is done when the port has no `device_id` any more. Empty where the cloud does not
        tell the id. A port made before is kept. Role member.

        Raises AnswerLost: asking again does no harm. ServerBusy, ServerLocked (409). NotFound: no
        such server, so none that has the port.
        """
        doing = f"detaching port {port_id} from server {server_id}"
        return self._delete(path("servers", server_id, "os-interface", port_id), doing)

    def outcome(self, server_id: str, request: str) -> Outcome:
        """How far Nova is with what `detach` returned `request` for.

        Raises NotFound for a request that Nova knows nothing of. Role reader.
        """
        doing = f"reading what became of request {request} for server {server_id}"
        raw = self._get(path("servers", server_id, "os-instance-actions", request), doing)
        return self._understand(doing, lambda: Outcome.from_json(member(raw, "instanceAction")))


def _interfaces(raw: object) -> list[Interface]:
    listed = objects(mapping(raw, "it"), "interfaceAttachments")
    return [Interface.from_json(item) for item in listed]


def _attached(raw: object, port_id: str) -> Interface:
    found = Interface.from_json(member(raw, "interfaceAttachment"))
    if found.port_id != port_id:
        raise Odd("it is about another port")
    return found

"""Which Nova server this node is: by the VM's port or by metadata, never by a name.

Names are not unique in a project, and a host name is whatever somebody set: a NIC would come to
another server.
"""

from __future__ import annotations

from neutron_cni.openstack.metadata import NoMetadata, server_id_of_this_vm
from neutron_cni.openstack.shapes import is_id
from neutron_cni.openstack.types import Port
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError


def server_of(port: Port) -> str:
    """The id of the server that has the port; empty where the port is no server's.

    Nova writes `compute:` with the availability zone into `device_owner`; whatever else is there,
    as of a port that was put on a machine by hand, `device_id` may be anything.
    """
    servers = port.device_owner.startswith("compute:") and is_id(port.device_id)
    return port.device_id if servers else ""


def this_server(port: Port, metadata_url: str, deadline: Deadline) -> str:
    """The id of the server that this VM is. `port` is the VM's own.

    The metadata service is asked only where the port does not tell. Raises CniError PORT_NOT_FOUND
    where neither does; TRY_AGAIN where that may pass.
    """
    found = server_of(port)
    if found:
        return found
    try:
        return server_id_of_this_vm(metadata_url, deadline)
    except NoMetadata as error:
        raise CniError(
            error.code,
            f"which Nova server this node is can't be told: port {port.id} is no server's "
            f"(device_owner {port.device_owner or 'empty'}), and {error.message}",
            "is this node a VM of that cloud, and is its port one that Nova attached?",
        ) from error

"""How a port says which lease it was made for: by the lease's nonce, which the store had before.

A port that only reserves an address has the nonce as `device_id`. Nova takes no port with a
`device_id`, writes the server's there, and empties it and `device_owner` when it gives the port
back: so the port of a NIC has the nonce in its description, which Nova leaves alone. People may
not, so it is in a tag as well, which in some clouds comes only after the port.
"""

from __future__ import annotations

from neutron_cni.ipam import node
from neutron_cni.openstack.types import Port
from neutron_cni.store import Record
from neutron_cni.values.ipam_config import Mode

DEVICE_OWNER = "neutron-cni:pod"
_NIC = "neutron-cni: NIC of lease "
_NIC_TAG = "ncni-lease="


def attributes(record: Record) -> dict[str, str]:
    """Those of a port that is made for the lease."""
    if record.config.mode is Mode.NOVA_INTERFACE:
        return {"device_owner": DEVICE_OWNER, "description": f"{_NIC}{record.nonce}"}
    return {
        "device_id": record.nonce,
        "device_owner": DEVICE_OWNER,
        "description": f"neutron-cni: {record} on node {node.name(record.config)}"[:255],
    }


def query(record: Record) -> dict[str, str]:
    """The filter of Neutron's list that finds the port; see `nonce_of` for what it let through."""
    key = "description" if record.config.mode is Mode.NOVA_INTERFACE else "device_id"
    return {key: attributes(record)[key]}


def tags(record: Record) -> list[str]:
    """Those that say of a NIC's port which lease it is of, whatever becomes of its description."""
    return [f"{_NIC_TAG}{record.nonce}"] if record.config.mode is Mode.NOVA_INTERFACE else []


def is_nic(port: Port) -> bool:
    """Whether the port was made for a NIC."""
    return bool(_nonce_of_nic(port))


def is_ours(port: Port) -> bool:
    """Whether the port was made for a lease, of whichever installation."""
    return is_nic(port) or port.device_owner == DEVICE_OWNER


def nonce_of(port: Port) -> str:
    """The nonce of the lease that the port was made for; of a port of others whatever it has."""
    return _nonce_of_nic(port) or port.device_id


def _nonce_of_nic(port: Port) -> str:
    for tag in port.tags:
        if tag.startswith(_NIC_TAG):
            return tag.removeprefix(_NIC_TAG)
    described = port.description.startswith(_NIC)
    return port.description.removeprefix(_NIC) if described else ""

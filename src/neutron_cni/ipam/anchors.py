"""Anchors: what no two processes of a node may change at the same time.

An anchor is a text that names a queue of requests in the store, and the lock under which they are
served. This module imports nothing that takes time: a process whose request another one serves
needs an anchor and no more.
"""

from __future__ import annotations

from neutron_cni.values.address import IPAddress
from neutron_cni.values.ipam_config import IpamConfig

_OF_AN_ATTACHMENT = "|own-port|"
"""What stands between the cloud and the token in the anchor of one attachment."""


def vm_port_anchor(config: IpamConfig, token: str) -> str:
    """The anchor in a mode that changes the VM's own port: all pods of a NIC share it."""
    port = config.port_id or config.host_interface or "default-route"
    return f"{_cloud(config)}|{port}"


def attachment_anchor(config: IpamConfig, token: str) -> str:
    """The anchor in a mode that makes a thing of its own for each attachment: none is shared."""
    return f"{_cloud(config)}{_OF_AN_ATTACHMENT}{token}"


def node_nics_anchor(config: IpamConfig, token: str) -> str:
    """The anchor in a mode that gives the VM NICs: Nova changes one of a server at a time."""
    return f"{_cloud(config)}|nics"


def lock_name(anchor: str) -> str:
    """The name of an anchor's lock.

    Anchors of attachments share 256 locks, as the file of a lock is never removed.
    """
    cloud, mark, token = anchor.partition(_OF_AN_ATTACHMENT)
    return f"{cloud}{mark}{token[:2]}"


def trouble_fact(anchor: str) -> str:
    """The fact in the store that says why the sweeper's last try for this anchor was in vain."""
    return f"sweep|{anchor}"


def blocked_fact(anchor: str, address: IPAddress) -> str:
    """The fact that says why Neutron did not let this address go."""
    return f"blocked|{anchor}|{address}"


def unlisted_fact(config: IpamConfig) -> str:
    """The fact that says why this cloud lists no floating IPs for us; empty where it has none."""
    return f"unlisted|{_cloud(config)}"


def _cloud(config: IpamConfig) -> str:
    return f"{config.cloud or ''}|{config.clouds_file or ''}"

"""Anchors: what no two processes of a node may change at the same time.

An anchor is a text that names a queue of requests in the store, and the lock under which they are
served. This module imports nothing that takes time: a process whose request another one serves
needs an anchor and no more.
"""

from __future__ import annotations

from neutron_cni.values.ipam_config import IpamConfig

_OF_AN_ATTACHMENT = "|own-port|"
"""What stands between the cloud and the token in the anchor of one attachment."""


def vm_port_anchor(config: IpamConfig, token: str) -> str:
    """For modes that change the VM's own port: all pods of a NIC are served together."""
    port = config.port_id or config.host_interface or "default-route"
    return f"{_cloud(config)}|{port}"


def attachment_anchor(config: IpamConfig, token: str) -> str:
    """For modes that make something for each attachment alone: these are served side by side."""
    return f"{_cloud(config)}{_OF_AN_ATTACHMENT}{token}"


def lock_name(anchor: str) -> str:
    """The lock of an anchor: attachments share 256, as the files of locks are never removed."""
    cloud, mark, token = anchor.partition(_OF_AN_ATTACHMENT)
    return f"{cloud}{mark}{token[:2]}"


def _cloud(config: IpamConfig) -> str:
    return f"{config.cloud or ''}|{config.clouds_file or ''}"

"""Whether a NIC's port is still as it was made: what somebody gave it for one pod, such as a
floating IP or a wider security group, is not for the pod that gets the NIC next."""

from __future__ import annotations

from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig


def is_as_made(neutron: Neutron, port: Port, config: IpamConfig) -> bool:
    """Whether a port that is made now, under the configuration, is the same to a pod.

    No where that can't be told: a new one costs time only.
    """
    if port.address_pairs or port.qos_policy or not port.up:
        return False
    try:
        return (
            port.port_security == _port_security(neutron, port, config)
            and port.security_groups == _groups(neutron, port, config)
            and not neutron.floating_ips(port.id)
        )
    except CniError:
        return False


def _port_security(neutron: Neutron, port: Port, config: IpamConfig) -> bool:
    if config.port_security is not None:
        return config.port_security
    return neutron.network(port.network_id).port_security


def _groups(neutron: Neutron, port: Port, config: IpamConfig) -> frozenset[str]:
    if not port.port_security:
        return frozenset()
    if config.security_groups is None:
        return frozenset({neutron.default_group_id(port.project_id)})
    return frozenset(map(neutron.security_group_id, config.security_groups))

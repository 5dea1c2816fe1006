"""STATUS: could an ADD succeed now? Code 50 with the reason when it could not."""

from __future__ import annotations

import time

from neutron_cni.ipam import locate
from neutron_cni.ipam.choose import exhausted, free_count
from neutron_cni.ipam.lock import anchor_lock
from neutron_cni.ipam.modes import address_pairs, pair_limit
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.port import network_of
from neutron_cni.ipam.modes.subnets import PodNetwork, read_pod_network
from neutron_cni.ipam.settling import anchor_for, connect
from neutron_cni.openstack.types import Port
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode

LONGEST_HOLD = 150.0
"""Seconds that one may hold an anchor's lock: the sweeper's 120 for one round, and some more."""


def status(config: IpamConfig, deadline: Deadline) -> None:
    """Returns when an ADD could succeed now. Raises CniError PLUGIN_NOT_AVAILABLE."""
    try:
        with Store(config.state_dir) as store:
            anchor = anchor_for(config, "status")
            context = connect(store, [config], anchor, deadline)
            _lock_is_usable(config, anchor)
            if config.mode is Mode.PORT:
                _room_for_a_port(context, network_of(context, config))
                return
            port = locate.vm_port(config, store, context.neutron, context.uplink)
            network = read_pod_network(context.neutron, port.network_id)
            _free_address(context, network, [item.subnet_id for item in port.fixed_ips])
            if config.mode is Mode.ADDRESS_PAIRS:
                _room_for_a_pair(context, port)
    except CniError as error:
        if error.code == Code.EXHAUSTED and not config.capacity_in_status:
            return
        raise CniError(Code.PLUGIN_NOT_AVAILABLE, error.message, error.details) from error


def _lock_is_usable(config: IpamConfig, anchor: str) -> None:
    """That somebody has it is everyday; that he does not let go of it is not."""
    longest = max(LONGEST_HOLD, config.timeout)
    with anchor_lock(config.state_dir, anchor) as lock:
        pid, since = 0, 0.0
        for _ in range(2):
            if lock.try_acquire():
                return
            last = pid, since
            pid, since = lock.holder()
            if not since or time.time() - since < longest:
                return
            # Who has just taken it may not have written its name over that of the one before.
            time.sleep(0.2)
    if (pid, since) == last:
        raise CniError(
            Code.TRY_AGAIN,
            f"process {pid} has held the lock {lock.path} for {time.time() - since:.0f} s, "
            "and every ADD waits for it",
            f"see what it waits for (/proc/{pid}/stack), then end it: the lock goes with it",
        )


def _free_address(context: Context, network: PodNetwork, home: list[str]) -> None:
    used = context.neutron.addresses_in_use(network.id)
    offered = network.offered(context.config, home)
    for version in {subnet.version for subnet in offered}:
        family = [subnet for subnet in offered if subnet.version == version]
        if not any(free_count(subnet, used) > 0 for subnet in family):
            raise exhausted(family)


def _room_for_a_port(context: Context, network: PodNetwork) -> None:
    _free_address(context, network, [item.id for item in network.subnets])
    for group in context.config.security_groups or ():
        context.neutron.security_group_id(group)
    project = context.neutron.project_id()
    quota = context.neutron.port_quota(project) if project else None
    if quota is not None and quota.full:
        raise CniError(
            Code.EXHAUSTED,
            f"the project's quota of {quota.limit} ports is used up ({quota.used} used)",
            "ask for a larger quota, or delete unused ports",
        )


def _room_for_a_pair(context: Context, port: Port) -> None:
    problem = address_pairs.why_not(port)
    if problem is not None:
        raise problem
    _room_for_a_port(context, read_pod_network(context.neutron, port.network_id))
    limit = context.config.max_address_pairs or pair_limit.known(context)
    if limit is not None and len(port.address_pairs) >= limit:
        raise CniError(
            Code.EXHAUSTED,
            f"port {port.id} has {len(port.address_pairs)} of {limit} allowed address pairs",
            "raise max_allowed_address_pair in neutron.conf, or use mode fixed-ips",
        )

"""Waits until the network lets a pod's packets pass, which its gateway's answer tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neutron_cni.netlink.plan import Announcement
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.lease import Lease


def await_gateway(
    lease: Lease,
    announced: Sequence[Announcement],
    netns: str,
    deadline: Deadline,
    note: Callable[[str], None],
) -> bool:
    """See `DataPlane.await_network`. One address is asked for: Neutron lets all of a pod's pass at
    once. `announced` tells by which link each of them leaves, `netns` is the path of the pod's."""
    from neutron_cni.netlink.probe import gateway_answers

    gateways = {
        item.address.ip: item.gateway
        for item in lease.addresses
        if item.gateway and item.gateway.version == item.address.version
    }
    source = next((item for item in announced if item.address in gateways), None)
    if source is None:
        return True
    gateway, seconds = gateways[source.address], deadline.left
    try:
        if gateway_answers(source, gateway, netns, deadline):
            return True
    except CniError as error:
        note(f"waitForNetwork: {error}")
        return True
    note(
        f"waitForNetwork: the gateway {gateway} did not answer {source.address} in "
        f"{seconds:.1f} s; new pods do not wait for it for the next minutes"
    )
    return False

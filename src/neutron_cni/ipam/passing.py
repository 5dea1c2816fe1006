"""ADD waits until the network lets the pod's packets pass, where that is asked for.

On ML2/OVS Neutron answers up to two seconds before; on ML2/OVN the pods' gateway answers at once. A
gateway that nobody is, as Neutron gives one to a network without a router too, would cost each ADD
the whole time: one that kept silent is remembered, and not waited for again for some minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from neutron_cni.ipam.api import IpamRequest
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.lease import Lease

SILENT_SECONDS = 600.0
"""So long a gateway that did not answer is not waited for."""
STORE_SECONDS = 1.0
"""So long a store that is locked is waited for: the pod's address is there, and works."""


def await_network(
    request: IpamRequest, lease: Lease, ask: Callable[[Lease, Deadline], bool]
) -> None:
    """`ask` returns whether the lease's gateway answers before the deadline that it is given.

    Raises nothing: the pod is no worse off than without.
    """
    seconds = request.config.wait_for_network
    gateways = ",".join(str(item.gateway or "") for item in lease.addresses)
    key = f"silent|{request.network}|{gateways}"
    if seconds == "off" or _is_silent(request, key):
        return
    limit = request.deadline.at_most(seconds)
    # A call that is late gives the gateway less time to answer, which tells nothing of the gateway.
    was_late = limit.at == request.deadline.at
    if ask(lease, limit) or was_late:
        return
    with suppress(CniError), Store(request.config.state_dir, STORE_SECONDS) as store:
        store.remember(key, "", durable=False)


def _is_silent(request: IpamRequest, key: str) -> bool:
    with suppress(CniError), Store(request.config.state_dir, STORE_SECONDS) as store:
        return store.fact(key, SILENT_SECONDS) is not None
    return True

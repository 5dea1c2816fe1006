"""Addresses that stay on a port because a floating IP points at them.

Neutron 29 refuses to take such an address off, but minds one only of a port's floating IPs, and
Neutron 21 none: the floating IP would go on pointing at an address that another pod gets next.
"""

from __future__ import annotations

from collections.abc import Collection

from neutron_cni.ipam.anchors import unlisted_fact
from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.errors import CloudError, Forbidden, Refused, Unauthorized
from neutron_cni.openstack.types import Port
from neutron_cni.values.address import IPAddress

UNLISTED_SECONDS = 3600.0
"""So long it is believed that floating IPs are not listed: a rule or a role may be added."""


def pointed_at(context: Context, port: Port, leaving: Collection[IPAddress]) -> set[IPAddress]:
    """Those of `leaving` that a floating IP points at; the store is told why they stay.

    One call for all of them, and none if there are none. Where a rule or policy keeps us from
    listing floating IPs, Neutron's own guard has to do. Where Neutron fails to list them all stay
    for now: pods to come need not wait for those that went. Raises CniError STORE.
    """
    unlisted = unlisted_fact(context.config)
    if not leaving or context.store.fact(unlisted, UNLISTED_SECONDS) is not None:
        return set()
    try:
        floating = context.neutron.floating_ips(port.id)
    except (Unauthorized, Forbidden, Refused) as error:
        # What else is refused is for nobody to mend.
        why = str(error) if isinstance(error, Unauthorized | Forbidden) else ""
        context.store.remember(unlisted, why)
        return set()
    except CloudError as error:
        context.note_blocked(leaving, str(error))
        return set(leaving)
    found = {address for address in leaving if address in floating}
    for address in found:
        # As Neutron 29 says it: people look for these words.
        why = (
            f"changing the addresses of port {port.id}: Cannot update the fixed_ips of the port "
            f"{port.id}, because its original fixed_ip has been associated to a floating ip "
            f"({floating[address]}, which points at {address})"
        )
        context.note_blocked([address], why)
    return found

"""What was once there is believed to be gone only after two looks found nothing, in two ways.

A gateway, a cache or a database that lags may answer once that a port does not exist. So: absent by
id and by list, and absent before, some seconds ago. When it was first seen so is in the store,
so that it counts whoever died meanwhile.
"""

from __future__ import annotations

import time

from neutron_cni.openstack.errors import NotFound
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.store import Store, giving_back
from neutron_cni.values.deadline import Deadline

COUNTS_FOR = 86400.0
"""Seconds: a first look that is older says nothing, as nobody knows what was between."""


def pause(deadline: Deadline) -> bool:
    """Let the time pass between two looks of one call; False, at once, where that does not fit."""
    if deadline.left <= giving_back.ABSENCE_SECONDS:
        return False
    time.sleep(giving_back.ABSENCE_SECONDS)
    return True


def read(neutron: Neutron, port_id: str) -> Port | None:
    """The port by its id, or else by the list; None where neither shows it."""
    for way in (neutron, neutron.by_list()):
        try:
            return way.port(port_id)
        except NotFound:
            continue
    return None


def look(
    store: Store, neutron: Neutron, port_id: str, patiently: bool = False
) -> tuple[Port | None, bool]:
    """The port, and whether it is gone for sure; (None, False): this was the first look in vain.

    `patiently`: wait for the second look, so that the answer is a sure one if the time is enough.
    """
    port = read(neutron, port_id)
    sure = certain(store, port_id, port is None)
    if port is None and patiently and not sure and pause(neutron.deadline):
        port, sure = read(neutron, port_id), True
        if port is not None:
            certain(store, port_id, absent=False)
    return port, port is None and sure


def certain(store: Store, what: str, absent: bool) -> bool:
    """Write down what one look at something says; whether it is gone for sure by now.

    That is by this look and by one some seconds ago.
    """
    key = f"absent|{what}"
    seen_before = store.fact(key, COUNTS_FOR) is not None
    if absent != seen_before:
        store.remember(key, "yes" if absent else None)
    return absent and seen_before and store.fact(key, giving_back.ABSENCE_SECONDS) is None

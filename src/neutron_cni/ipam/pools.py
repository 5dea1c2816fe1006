"""Which networks have NICs kept for pods to come, as their configuration says (`warmNICs`).

The store is told by whoever comes by with a network's configuration: ADD, GC, `neutron-cni gc`.
"""

from __future__ import annotations

from neutron_cni.ipam.modes import MODES
from neutron_cni.store import Store
from neutron_cni.values.ipam_config import IpamConfig, Mode


def note_pool(store: Store, network: str, config: IpamConfig) -> None:
    """NICs are kept for pods to come, or no more, as the network's configuration says now.

    Raises CniError STORE.
    """
    if config.mode is Mode.NOVA_INTERFACE:
        store.note_pool(network, MODES[config.mode].anchor(config, ""), config)
    else:
        store.forget_pool(network)

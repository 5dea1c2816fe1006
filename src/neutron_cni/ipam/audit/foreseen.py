"""What a network's configuration may do to the node, said before the first pod: for `install`."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import msgspec

from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.room import dangers
from neutron_cni.ipam.settling import connected
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig, Mode


def foreseen(config: IpamConfig, deadline: Deadline) -> list[str]:
    """Sentences for the operator; none where the cloud can't be asked, as in the making of an
    image, or in a container that can't write anywhere: STATUS says the same later.

    The node's store is not made, as it would name the machine on which an image is made.
    """
    if config.mode is not Mode.FIXED_IPS:
        return []
    try:
        with TemporaryDirectory() as folder:
            return _dangers_of(msgspec.structs.replace(config, state_dir=folder), deadline)
    except (CniError, OSError):
        return []


def _dangers_of(config: IpamConfig, deadline: Deadline) -> list[str]:
    mode = MODES[config.mode]
    with (
        Store(config.state_dir) as store,
        connected(store, [config], mode.anchor(config, ""), deadline) as context,
    ):
        return dangers(mode.page.capacity(context))

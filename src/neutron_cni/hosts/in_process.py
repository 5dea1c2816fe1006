"""This process as the host of a call: the engine with this machine's Neutron access and kernel.

What these two need is imported only by the first call that uses it.
"""

from __future__ import annotations

from collections.abc import Callable

from neutron_cni.cni.request import Request
from neutron_cni.engine.engine import Engine
from neutron_cni.engine.parts import DataPlane, Parts
from neutron_cni.ipam.api import Ipam
from neutron_cni.plugins import RECIPES


def local_engine(note: Callable[[str], None]) -> Engine:
    """The engine over both; `note` takes what the operator should read on standard error."""
    return Engine(Parts(own_ipam, lambda request: _data_plane(request, note), note))


def own_ipam() -> Ipam:
    """Our IPAM for a process of its own, which polls, and leaves what rests to a sweeper."""
    from neutron_cni.ipam.pauses import Polling
    from neutron_cni.ipam.service import NeutronIpam
    from neutron_cni.ipam.sweeper import start_sweeper

    return NeutronIpam(Polling, start_sweeper)


def _data_plane(request: Request, note: Callable[[str], None]) -> DataPlane:
    from neutron_cni.engine.kernel import Kernel

    return Kernel(request, RECIPES[request.plugin].pages(), note)

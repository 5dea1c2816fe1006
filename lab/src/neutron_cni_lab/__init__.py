"""A real Neutron, OVN and a few VMs on one machine, to try and to test neutron-cni.

Use it from Python through `Lab`, or from the shell as ``neutron-cni lab ...``.
"""

from typing import TYPE_CHECKING, Any

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.node import Node

if TYPE_CHECKING:
    from neutron_cni_lab.lab import Lab

__all__ = ["Lab", "LabError", "Node"]


def __getattr__(name: str) -> Any:
    """Import `Lab` when it is asked for: Nova's environment, which imports nodes and their NICs,
    has nothing of what `Lab` needs."""
    if name == "Lab":
        from neutron_cni_lab.lab import Lab

        return Lab
    raise AttributeError(name)

"""A real Neutron, OVN and a few VMs on one machine, to try and to test neutron-cni.

Use it from Python through `Lab`, or from the shell as ``neutron-cni lab ...``.
"""

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node

__all__ = ["Lab", "LabError", "Node"]

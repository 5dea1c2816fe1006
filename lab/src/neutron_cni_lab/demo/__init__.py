"""``neutron-cni lab demo``: pods on a real Neutron network, every claim measured.

Its instruments (`Pod`, `traffic`, `services`, `traces`) are what the tests measure with, too.
"""

from neutron_cni_lab.demo.ipvlan import show_ipvlan
from neutron_cni_lab.demo.nic import have_nic_lab, show_nic
from neutron_cni_lab.demo.pod import Pod
from neutron_cni_lab.demo.veth_route import show_veth_route

__all__ = ["Pod", "have_nic_lab", "show_ipvlan", "show_nic", "show_veth_route"]

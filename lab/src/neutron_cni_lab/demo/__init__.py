"""``neutron-cni lab demo``: pods on a real Neutron network, every claim measured.

Its instruments (`Pod`, `traffic`, `traces`) are what the tests measure with, too.
"""

from neutron_cni_lab.demo.main_job import show
from neutron_cni_lab.demo.pod import Pod

__all__ = ["Pod", "show"]

"""``python -m neutron_cni_lab``: the same commands as ``neutron-cni lab``."""

from neutron_cni_lab.cli import app

app(prog_name="neutron-cni lab")

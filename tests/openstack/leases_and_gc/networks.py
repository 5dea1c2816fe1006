"""Networks of each mode, for `neutron-cni leases` and `gc`."""

from __future__ import annotations

from tests.openstack.plugin import config

FIXED = {**config("1.1.0"), "name": "fixed"}
PAIRS = {**config("1.1.0", mode="address-pairs"), "name": "pairs"}
PORT = {**config("1.1.0", mode="port", network="tenant"), "name": "port"}
NOTHING = "nothing to do\n"

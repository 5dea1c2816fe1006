"""What this node knows durably: leases, the requests for them, and facts looked up once."""

from neutron_cni.store.record import Failure, PortAddress, Record, State, Wish
from neutron_cni.store.store import Store

__all__ = ["Failure", "PortAddress", "Record", "State", "Store", "Wish"]

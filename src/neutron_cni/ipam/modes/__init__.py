"""The IPAM modes: how wishes and releases of one anchor become true in Neutron.

Each module has one function, `settle`: called under the anchor's lock, it compares store and
Neutron, records what it is about to change, changes it, and records what came of it, until
nothing is left to do. It starts from what is, not from what a predecessor meant to do, so it
continues after any crash.
"""

"""Store, Neutron and the node's namespaces compared: what `neutron-cni leases` and `gc` show.

Everything here only looks; `gc --apply` then uses the same calls as the plugins do.
"""

"""Values that all other packages use: addresses, attachments, results, leases, options, errors.

Nothing here does I/O or imports another package of neutron-cni.
"""

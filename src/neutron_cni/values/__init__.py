"""What every floor speaks of: addresses, attachments, results, leases, configuration, errors.

Nothing here does I/O or imports anything else of ours.
"""

"""Which process carries a call out: this one, or another plugin process, over a socket.

This module imports nothing, as `hosts.client` runs before anything slow is imported.
"""

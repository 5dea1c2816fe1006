"""Who carries out a call: this process, or another one of ours that is asked over a socket.

This package imports nothing: `hosts.client` runs before anything slow is imported.
"""

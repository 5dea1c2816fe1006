"""The WSGI module of a lab with ML2/OVS: Neutron's API, and what its agents call, in one process.

Neutron has processes of their own for the latter (``neutron-rpc-server``), which would be as large
as the API again.
"""

from contextlib import suppress

from lab_wsgi import application
from neutron_lib.plugins import directory

__all__ = ["application"]


def _listen() -> None:
    """Have every plugin answer its agents; not all have any."""
    for plugin in directory.get_unique_plugins():
        for method in ("start_rpc_listeners", "start_rpc_state_reports_listener"):
            with suppress(AttributeError, NotImplementedError):
                getattr(plugin, method)()


_listen()

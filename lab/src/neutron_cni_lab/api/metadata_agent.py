"""Neutron's own OVN metadata agent, with a small stand-in for Nova's metadata service behind it.

Runs in Neutron's own environment, as ``metadata_agent.py --config-file FILE``. The agent finds out
who asks (network and address, in OVN's southbound database) and tells Nova (`nova_metadata`).
"""

import importlib

import in_process
import nova_metadata


def main() -> None:
    """Serve until ended."""
    nova_metadata.start()
    in_process.have_privileges()
    importlib.import_module("neutron.agent.ovn.metadata_agent").main()


main()

"""``ovs_agent.py NAME --config-file FILE...``: one of the agents of ML2/OVS, as Neutron has it.

Runs in Neutron's own environment. Entry points are looked for in this folder too, so agents find
the message bus (`lab_bus`) in it.
"""

import importlib
import sys

import in_process
import nova_metadata

_MODULES = {
    "openvswitch-agent": "ovs_neutron_agent",
    "l3-agent": "l3",
    "dhcp-agent": "dhcp",
    "metadata-agent": "metadata",
}


def main() -> None:
    """Be the agent until ended."""
    name = sys.argv.pop(1)
    in_process.have_privileges()
    in_process.name_it(f"neutron-{name}")
    if name == "metadata-agent":
        nova_metadata.start()
    importlib.import_module(f"neutron.cmd.agents.{_MODULES[name]}").main()


main()

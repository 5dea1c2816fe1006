"""ML2/OVN: OVN's databases and daemons beside Open vSwitch, and Neutron's agent for metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from neutron_cni_lab.driver import ApiSettings, Driver
from neutron_cni_lab.metadata import Metadata
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import run, wait_until
from neutron_cni_lab.switch import PHYSICAL_NETWORK, Switch

_NORTHBOUND_SCHEMA = "/usr/share/ovn/ovn-nb.ovsschema"
_NORTHBOUND_COPY = "ovn-nb.db"

_DEFAULT = """\
service_plugins = ovn-router,trunk,port_forwarding,segments
# Nobody but the API listens.
transport_url = fake:/
"""

_SECTIONS = """\
[ml2]
type_drivers = geneve,flat
tenant_network_types = geneve
mechanism_drivers = ovn
extension_drivers = port_security

[ml2_type_geneve]
vni_ranges = 1:65536
max_header_size = 38

[ovn]
# Each network gets a metadata port, which has an address on it.
ovn_metadata_enabled = true
ovn_nb_connection = {northbound}
ovn_sb_connection = {southbound}
# The default (true) breaks floating IPs between VMs behind one router (Neutron 29).
ovn_router_indirect_snat = false
"""


class OvnSwitch(Switch):
    """Open vSwitch as OVN's chassis, with all of OVN."""

    parts = ("ovsdb-server", "ovn-nb", "ovn-sb", "ovs-vswitchd", "ovn-northd", "ovn-controller")
    schemas: Mapping[str, str] = {
        **Switch.schemas,
        "ovn-nb": _NORTHBOUND_SCHEMA,
        "ovn-sb": "/usr/share/ovn/ovn-sb.ovsschema",
    }

    @property
    def northbound(self) -> str:
        """The OVSDB address of OVN's northbound database."""
        return self._remote("ovn-nb")

    @property
    def southbound(self) -> str:
        """The OVSDB address of OVN's southbound database."""
        return self._remote("ovn-sb")

    @property
    def northbound_file(self) -> Path:
        """Where OVN's northbound database is kept."""
        return self._file("ovn-nb", "db")

    def back_up_northbound(self, target: Path) -> None:
        """Write a copy of OVN's northbound database to `target`, while it is in use."""
        command = ["ovsdb-client", "--timeout=20", "backup", self.northbound, "OVN_Northbound"]
        target.write_text(run(command, env=self._environment))

    def sync(self) -> None:
        """Wait until ovn-controller has put all that OVN knows into the switch."""
        # It does not count a switch that was restarted and to which it has yet to reconnect.
        wait_until(self._has_flows, "ovn-controller to fill br-int", 60)
        run(
            ["ovn-nbctl", f"--db={self.northbound}", "--timeout=60", "--wait=hv", "sync"],
            env=self._environment,
        )

    def _has_flows(self) -> bool:
        bridge = f"unix:{self._places.switch / 'br-int.mgmt'}"
        found = run(["ovs-ofctl", "dump-aggregate", bridge], check=False)
        return "flow_count=" in found and "flow_count=0\n" not in found

    def _external_ids(self) -> dict[str, str]:
        return {
            **super()._external_ids(),
            "ovn-remote": self.southbound,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": "127.0.0.1",
            "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:br-ex",
            "ovn-cms-options": "enable-chassis-as-gw",
            "ovn-monitor-all": "true",
        }

    def _start_others(self) -> None:
        self._start(
            "ovn-northd",
            ["ovn-northd", f"--ovnnb-db={self.northbound}", f"--ovnsb-db={self.southbound}"],
        )
        self._start("ovn-controller", ["ovn-controller", self.database])


class Ovn(Driver):
    """Neutron writes to OVN's northbound database; OVN does the rest."""

    name = "ovn"
    title = "Open vSwitch and OVN"
    programs: ClassVar[Mapping[str, str]] = {
        "ovn-central": "/usr/bin/ovn-northd",
        "ovn-host": "/usr/bin/ovn-controller",
    }
    sources = ("ovn.py",)

    def __init__(self, places: Places, neutron: Path) -> None:
        """`neutron` is the environment that Neutron is installed in."""
        self.switch: OvnSwitch = OvnSwitch(places)
        self.metadata = Metadata(places, neutron, self.switch, self.switch.southbound)

    @property
    def settings(self) -> ApiSettings:
        """Where OVN's databases are."""
        switch = self.switch
        return ApiSettings(
            default=_DEFAULT,
            sections=_SECTIONS.format(northbound=switch.northbound, southbound=switch.southbound),
            application="lab_wsgi:application",
        )

    @property
    def pids(self) -> dict[str, int | None]:
        """The metadata agent, then Open vSwitch's and OVN's daemons."""
        daemons = {part: self.switch.pid(part) for part in self.switch.parts}
        return {"metadata": self.metadata.pid, **daemons}

    def start(self) -> None:
        """Have Open vSwitch and OVN."""
        self.switch.start()

    def start_agents(self) -> None:
        """Have the metadata agent, which needs OVN only, and time."""
        self.metadata.start()

    def stop_agents(self) -> None:
        """End the metadata agent."""
        self.metadata.stop()

    def wait_for_agents(self, cloud: Any) -> None:
        """Nothing: ports and routers are OVN's, and only nodes ask for metadata."""

    def sync(self, cloud: Any) -> None:
        """Wait until ovn-controller is done."""
        self.switch.sync()

    def schemas(self) -> bytes:
        """The northbound database's."""
        return Path(_NORTHBOUND_SCHEMA).read_bytes()

    def back_up(self, folder: Path) -> None:
        """Copy the northbound database; the southbound one is made from it."""
        self.switch.back_up_northbound(folder / _NORTHBOUND_COPY)

    def restore(self, folder: Path) -> None:
        """Have the northbound database that was saved."""
        (folder / _NORTHBOUND_COPY).rename(self.switch.northbound_file)

    def hint(self, logs: Path) -> str:
        """Its own log, and Neutron's."""
        return f"See {logs / 'ovn-controller.log'} and neutron.log beside it."

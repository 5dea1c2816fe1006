"""ML2/OVS: Open vSwitch, Neutron's agents for it, routers and DHCP, and a bus between them."""

import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from neutron_cni_lab.agents import AGENTS, Agents
from neutron_cni_lab.driver import ApiSettings, Driver
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import run, wait_until
from neutron_cni_lab.switch import Switch

_DEFAULT = """\
# As ports are bound to it.
host = {host}
service_plugins = router,trunk,port_forwarding,segments
transport_url = labbus://{bus}
# Agents start with the API, which loads for some seconds.
rpc_response_timeout = 60
"""

_SECTIONS = """\
[ml2]
type_drivers = vxlan,flat
tenant_network_types = vxlan
mechanism_drivers = openvswitch
extension_drivers = port_security

[ml2_type_vxlan]
vni_ranges = 1:65536
"""

_WAIT_SECONDS = 120.0
_DEAD_VLAN = 4095
"""The tag of a port that the agent has yet to do with, or has given up."""


class Ovs(Driver):
    """Neutron tells agents by messages what to do; they tell by messages that it is done."""

    name = "ovs"
    title = "Open vSwitch and the message bus"
    programs: ClassVar[Mapping[str, str]] = {
        "conntrack": "/usr/sbin/conntrack",
        "dnsmasq-base": "/usr/sbin/dnsmasq",
        "dnsmasq-utils": "/usr/bin/dhcp_release",
        "iptables": "/usr/sbin/iptables",
        "iputils-arping": "/usr/bin/arping",
        "radvd": "/usr/sbin/radvd",
    }
    sources = ("ovs.py",)

    def __init__(self, places: Places, neutron: Path) -> None:
        """`neutron` is the environment that Neutron is installed in."""
        self.switch = Switch(places)
        self.agents = Agents(places, neutron, self.switch)

    @property
    def settings(self) -> ApiSettings:
        """The API answers the agents, too."""
        return ApiSettings(
            default=_DEFAULT.format(host=self.switch.chassis, bus=self.agents.bus),
            sections=_SECTIONS,
            application="ovs_wsgi:application",
        )

    @property
    def pids(self) -> dict[str, int | None]:
        """The switch's daemons, then the bus and the agents."""
        daemons = {part: self.switch.pid(part) for part in self.switch.parts}
        return {**daemons, **{part: self.agents.pid(part) for part in self.agents.parts}}

    def start(self) -> None:
        """Have the switch and the bus."""
        self.switch.start()
        self.agents.start_bus()

    def start_agents(self) -> None:
        """Have the agents; what they ask waits on the bus until the API listens."""
        self.agents.start()

    def stop_agents(self) -> None:
        """End them, and what they made."""
        self.agents.stop()

    def wait_for_agents(self, cloud: Any) -> None:
        """Wait until each has told Neutron that it lives."""
        late = set(AGENTS)
        give_up = time.monotonic() + _WAIT_SECONDS
        while late := late - self._heard_of(cloud):
            dead = [part for part in sorted(late) if self.agents.pid(part) is None]
            if dead or time.monotonic() > give_up:
                what = f"{dead[0]} ended" if dead else f"waited {_WAIT_SECONDS:g} s for {late}"
                hint = f"`neutron-cni lab logs {(dead or sorted(late))[0]}` may say why."
                raise LabError(f"{what} while the agents were starting", hint)
            time.sleep(0.2)

    def sync(self, cloud: Any) -> None:
        """Wait until routers and DHCP servers are on their networks, and translate addresses.

        Nodes are waited for by the status of their ports.
        """
        wait_until(lambda: not self._missing(cloud), "ports to be on their networks", _WAIT_SECONDS)
        routers = [router.id for router in cloud.network.routers() if router.external_gateway_info]
        wait_until(lambda: all(map(self._translates, routers)), "routers", _WAIT_SECONDS)

    def schemas(self) -> bytes:
        """None: the agents' bridges are made anew."""
        return b""

    def back_up(self, folder: Path) -> None:
        """Nothing: what the switch has is made from what Neutron tells."""

    def restore(self, folder: Path) -> None:
        """Nothing."""

    def hint(self, logs: Path) -> str:
        """Its own log, and Neutron's."""
        return f"See {logs / 'openvswitch-agent.log'} and neutron.log beside it."

    def in_router(self, router_id: str) -> list[str]:
        """What to put before a command to run it in a router, from where agents run."""
        return ["ip", "netns", "exec", f"qrouter-{router_id}"]

    def _heard_of(self, cloud: Any) -> set[str]:
        """Those of AGENTS of whom Neutron has heard since they were started."""
        found = set()
        for agent in cloud.network.agents():
            part = str(agent.binary).removeprefix("neutron-")
            told = datetime.datetime.fromisoformat(f"{agent.last_heartbeat_at}+00:00")
            # Neutron knows seconds only.
            if part in AGENTS and told.timestamp() > self.agents.started(part):
                found.add(part)
        return found

    def _missing(self, cloud: Any) -> set[str]:
        """The ports of routers and DHCP servers that are not on their networks yet."""
        wanted = {
            port.id
            for port in cloud.network.ports()
            if port.binding_host_id == self.switch.chassis
            and port.device_owner.startswith("network:")
        }
        return wanted - self._on_networks()

    def _on_networks(self) -> set[str]:
        """The ids of the Neutron ports that have a VLAN of their network's in the switch."""
        tags = dict(self._table("Port", "name", "tag"))
        ids = {
            name: dict(pairs[1]) for name, pairs in self._table("Interface", "name", "external_ids")
        }
        return {
            known["iface-id"]
            for name, known in ids.items()
            if "iface-id" in known and isinstance(tags.get(name), int) and tags[name] != _DEAD_VLAN
        }

    def _table(self, table: str, *columns: str) -> list[list[Any]]:
        words = ["--format=json", f"--columns={','.join(columns)}", "list", table]
        rows: list[list[Any]] = json.loads(self.switch.vsctl(*words))["data"]
        return rows

    def _translates(self, router_id: str) -> bool:
        """What the L3 agent does last."""
        try:
            rules = run(self.agents.inside([*self.in_router(router_id), "iptables-save"]))
        except LabError:  # its namespace is yet to be made
            return False
        return "SNAT" in rules

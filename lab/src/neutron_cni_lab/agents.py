"""The agents of ML2/OVS and their message bus, and the namespaces that they make.

Routers and DHCP servers are named network namespaces, which agents make and which outlive them, as
on a real host. A process of the lab's own, the holder, has a /run/netns for them in which they are
not seen from the host; every agent runs in its mount namespace.
"""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from neutron_cni_lab import daemons, namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.neutron import API, API_PORT
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import daemon, end, executable, live_pid, wait_until
from neutron_cni_lab.switch import API_ADDRESS, PHYSICAL_NETWORK, Switch

BUS = "bus"
HOLDER = "namespaces"
AGENTS = ("openvswitch-agent", "l3-agent", "dhcp-agent", "metadata-agent")
"""As the parts are called, and as Neutron calls their programs, after ``neutron-``."""

_CONFIGURATION = """\
[DEFAULT]
interface_driver = openvswitch
metadata_proxy_socket = {folder}/proxy
metadata_proxy_shared_secret = {secret}
nova_metadata_host = 127.0.0.1
nova_metadata_port = 8775
metadata_workers = 0

[AGENT]
# They want a command to become root with; we are.
root_helper = env
# Neutron does not listen to what was said before it was up.
report_interval = 3
tunnel_types = vxlan

[ovs]
datapath_type = netdev
ovsdb_connection = {switch}
local_ip = 127.0.0.1
bridge_mappings = {physical_network}:br-ex

[securitygroup]
firewall_driver = openvswitch
enable_ipset = false
"""

_MOVING_SECONDS = 3.0

# What is below /sys/class/net is that of the namespace in which /sys was mounted.
_HOLD = """
umount -R -l /run/netns
set -e
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
mount -t sysfs sysfs /sys
echo $$ >"$0"
exec sleep infinity
"""

# Here, as whoever starts it knows the process id of nothing but what starts it.
_NOTE_AND_BECOME = 'echo $$ >"$0"; exec "$@"'


class Agents:
    """The agents of one lab, each a process (or two) that can be killed alone."""

    parts = (BUS, HOLDER, *AGENTS)

    def __init__(self, places: Places, venv: Path, switch: Switch) -> None:
        """`venv` has Neutron in it."""
        self._places = places
        self._python = venv / "bin" / "python"
        self._switch = switch
        self._folder = places.folder / "agents"
        self._configuration = self._folder / "agents.conf"

    @property
    def bus(self) -> Path:
        """The socket of the message bus."""
        return self._folder / "bus.sock"

    def pid(self, part: str) -> int | None:
        """Its process id, None when it is down or serves a fabric that is gone."""
        pid = live_pid(self._pid_file(part), self._places.folder)
        return pid if pid and namespaces.holds(self._switch.namespace, pid) else None

    def started(self, part: str) -> float:
        """When it was started, in Unix seconds."""
        return self._pid_file(part).stat().st_mtime

    def start_bus(self) -> None:
        """Have the message bus, which agents and API find again after it was away."""
        if self.pid(BUS) is not None:
            return
        end(daemons.processes(self._places.folder, BUS))
        self.bus.unlink(missing_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._start(BUS, [self._python, "-I", API / "lab_broker.py", self.bus])
        wait_until(self.bus.exists, "the message bus", 30, _hint(BUS))

    def start(self) -> None:
        """Have all agents running, not yet serving: that takes them some seconds."""
        self._hold_namespaces()
        self._configure()
        for part in AGENTS:
            self.start_agent(part)

    def start_agent(self, part: str) -> None:
        """Have one of AGENTS running. Harmless twice."""
        if self.pid(part) is not None:
            return
        self.stop_agent(part)
        files = [self._places.neutron / "neutron.conf", self._configuration]
        options = [word for file in files for word in ("--config-file", str(file))]
        # -s and -E: nothing of the host's, but the folder of the script.
        self._start(part, [self._python, "-sE", API / "ovs_agent.py", part, *options])

    def stop_agent(self, part: str) -> None:
        """End one of AGENTS; what it made goes on, as on a real host."""
        self._pid_file(part).unlink(missing_ok=True)
        end(self._pythons(part))

    def stop(self) -> None:
        """End all agents, with what they made: routers, DHCP servers, proxies."""
        processes = set()
        for part in (*AGENTS, HOLDER):
            self._pid_file(part).unlink(missing_ok=True)
            processes |= daemons.processes(self._places.folder, part)
        end(processes)
        self._unplug_their_devices()

    def inside(self, command: Sequence[str | Path]) -> list[str | Path]:
        """`command` as it has to be run to see the agents' namespaces by name."""
        pid = self.pid(HOLDER)
        if pid is None:
            hint = "`neutron-cni lab up` makes them anew."
            raise LabError("the agents' namespaces are gone", hint)
        return ["nsenter", f"--target={pid}", "--mount", "--net", "--", *command]

    def _hold_namespaces(self) -> None:
        """Have the holder, and all that agents make anew where its namespaces are of no use."""
        if self.pid(HOLDER) is not None and not self._lost_devices():
            return
        self.stop()
        hold = ["unshare", "--mount", "--propagation=slave", "sh", "-c", _HOLD]
        daemon(
            namespaces.inside(self._switch.namespace, [*hold, self._pid_file(HOLDER)]),
            env=self._environment(HOLDER),
            log=self._places.logs / f"{HOLDER}.log",
        )
        wait_until(lambda: self.pid(HOLDER) is not None, "a place for the agents' namespaces", 30)

    def _their_devices(self) -> list[str]:
        """The ends of the agents' namespaces in the switch, whose own devices they are."""
        words = ["--bare", "--columns=name", "find", "Interface", "type=internal"]
        names = self._switch.vsctl(*words).split()
        return [name for name in names if name.startswith(("qr-", "qg-", "tap"))]

    def _lost_devices(self) -> bool:
        """Whether a switch that crashed has made some anew, which are not in the namespaces then.

        What an agent has just made is there for a moment as well.
        """
        fabric, give_up = self._switch.namespace, time.monotonic() + _MOVING_SECONDS
        while any(namespaces.has_link(fabric, name) for name in self._their_devices()):
            if time.monotonic() > give_up:
                return True
            time.sleep(0.2)
        return False

    def _unplug_their_devices(self) -> None:
        """Or who comes next would take them for its own."""
        if self._switch.pid("ovsdb-server") is not None:
            for name in self._their_devices():
                self._switch.unplug(name)

    def _configure(self) -> None:
        # The openvswitch agent runs `ovs-vsctl` too, which knows of no other name than this one.
        usual = self._places.switch / "db.sock"
        if not usual.is_symlink():
            usual.symlink_to(self._switch.database.removeprefix("unix:"))
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(
            _CONFIGURATION.format(
                folder=self._folder,
                secret=self._secret(),
                switch=self._switch.database,
                physical_network=PHYSICAL_NETWORK,
            )
        )

    def _secret(self) -> str:
        """What the metadata agent and Nova's stand-in know; the same for all that run."""
        file = self._folder / "secret"
        if not file.exists():
            new = file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(secrets.token_hex(16))
            new.rename(file)
        return file.read_text()

    def _start(self, part: str, command: Sequence[str | Path]) -> None:
        words = ["sh", "-c", _NOTE_AND_BECOME, self._pid_file(part), *command]
        inside = namespaces.inside(self._switch.namespace, words)
        daemon(
            self.inside(words) if part in AGENTS else inside,
            env=self._environment(part),
            log=self._places.logs / f"{part}.log",
        )
        wait_until(lambda: self.pid(part) is not None, part, 30, _hint(part))

    def _environment(self, part: str) -> dict[str, str]:
        return {
            **self._places.environment,
            daemons.PART: part,
            "OVS_RUNDIR": str(self._places.switch),
            # setproctitle would write over the environment, and the marker with it.
            "SPT_NOENV": "1",
            "LAB_METADATA_SECRET": self._secret() if part == "metadata-agent" else "",
            "LAB_NEUTRON_URL": f"http://{API_ADDRESS}:{API_PORT}",
        }

    def _pythons(self, part: str) -> set[int]:
        """The agent's own processes; the daemons that it started have its environment as well."""
        python = self._python.resolve()
        return {
            pid for pid in daemons.processes(self._places.folder, part) if executable(pid) == python
        }

    def _pid_file(self, part: str) -> Path:
        return self._folder / f"{part}.pid"


def _hint(part: str) -> str:
    return f"`neutron-cni lab logs {part}` tells more."

"""The metadata service at 169.254.169.254: Neutron's own OVN metadata agent, as on a real cloud.

The agent puts haproxy into a namespace of each network that has VMs and asks OVN who is calling;
only Nova, whom it would ask next, is played (api/nova_metadata.py).
"""

import json
import secrets
from pathlib import Path

from neutron_cni_lab import namespaces
from neutron_cni_lab.neutron import API_PORT
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import daemon, end, live_pid, running
from neutron_cni_lab.switch import API_ADDRESS, Switch

ADDRESS = "169.254.169.254"
"""Where a VM asks; Neutron's DHCP gives it a route there, by the network's metadata port."""

_SCRIPT = Path(__file__).parent / "api" / "metadata_agent.py"

_CONFIGURATION = """\
[DEFAULT]
state_path = {folder}
metadata_proxy_socket = {folder}/proxy
metadata_proxy_shared_secret = {secret}
nova_metadata_host = 127.0.0.1
nova_metadata_port = 8775
metadata_workers = 0

[AGENT]
# It wants a command to become root with; we are.
root_helper = env

[oslo_concurrency]
lock_path = {folder}/locks

[ovs]
ovsdb_connection = {switch}

[ovn]
ovn_sb_connection = {southbound}
"""

# The agent's namespaces are named, in a /run/netns of its own: nobody else's are there to be
# cleaned up by it, and its own go with its processes.
_HIDE_NAMESPACES = (
    'umount -R -l /run/netns; mount -t tmpfs tmpfs /run/netns; echo $$ >"$0"; exec "$@"'
)


class Metadata:
    """The agent of one lab; it finds out by itself which nodes there are."""

    def __init__(self, places: Places, venv: Path, switch: Switch, southbound: str) -> None:
        """`venv` has Neutron in it; `southbound` is the OVSDB address of OVN's database."""
        self._places = places
        self._venv = venv
        self._switch = switch
        self._southbound = southbound
        self._folder = places.folder / "metadata"
        self._pid_file = self._folder / "pid"

    @property
    def pid(self) -> int | None:
        """The agent's process id, None when it is down or serves a switch that is gone."""
        pid = live_pid(self._pid_file, self._places.folder)
        return pid if pid and namespaces.holds(self._switch.namespace, pid) else None

    def start(self) -> None:
        """Have it running, not yet serving: that takes it a few seconds. Harmless twice."""
        if self.pid is not None:
            return
        self.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        secret = secrets.token_hex(16)
        configuration = self._folder / "agent.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self._folder,
                secret=secret,
                switch=self._switch.database,
                southbound=self._southbound,
            )
        )
        private = ["unshare", "--mount", "--propagation=slave", "sh", "-c", _HIDE_NAMESPACES]
        agent = [self._venv / "bin" / "python", "-sE", _SCRIPT, "--config-file", configuration]
        daemon(
            namespaces.inside(
                self._switch.namespace, [*map(str, private), self._pid_file, *map(str, agent)]
            ),
            env={
                **self._places.environment,
                # setproctitle would write over the environment, and the marker with it.
                "SPT_NOENV": "1",
                "LAB_METADATA_SECRET": secret,
                "LAB_NEUTRON_URL": f"http://{API_ADDRESS}:{API_PORT}",
            },
            log=self._places.logs / "metadata.log",
        )

    def stop(self) -> None:
        """End the agent and its proxies, and pull their plugs."""
        self._pid_file.unlink(missing_ok=True)
        end(running(self._places.folder, str(self._folder)))
        self._unplug()

    def _unplug(self) -> None:
        """Take off what the agent plugged in: alone it tells no `attached-mac`."""
        words = ["-f", "json", "--columns=name,external_ids", "list", "Interface"]
        for name, (_, pairs) in json.loads(self._switch.vsctl(*words))["data"]:
            ids = dict(pairs)
            if "iface-id" in ids and "attached-mac" not in ids:
                self._switch.unplug(name)

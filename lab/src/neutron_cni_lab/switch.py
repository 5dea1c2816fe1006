"""Open vSwitch (user-space datapath) and OVN, all of it in a network namespace of its own."""

import json
from collections.abc import Sequence
from pathlib import Path

from neutron_cni_lab import daemons, namespaces
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import end, live_pid, run, running, wait_until

EXTERNAL_PREFIX = 24
INTERNET_ADDRESS = "172.24.4.1"
API_ADDRESS = "172.24.4.2"
FAR_ADDRESS = "198.51.100.1"
PHYSICAL_NETWORK = "physnet"

# The same when the cable is made anew: OVN's router keeps what it learned for ever (MAC_Binding).
_INTERNET_MAC = "02:00:ac:18:04:01"

NORTHBOUND_SCHEMA = "/usr/share/ovn/ovn-nb.ovsschema"

_SCHEMAS = {
    "ovsdb-server": "/usr/share/openvswitch/vswitch.ovsschema",
    "ovn-nb": NORTHBOUND_SCHEMA,
    "ovn-sb": "/usr/share/ovn/ovn-sb.ovsschema",
}


class Switch:
    """The lab's fabric: br-int, where nodes are plugged in, and br-ex with the internet behind."""

    parts = ("ovsdb-server", "ovn-nb", "ovn-sb", "ovs-vswitchd", "ovn-northd", "ovn-controller")

    def __init__(self, places: Places) -> None:
        self._places = places
        self.namespace = places.namespace("fabric")
        self.internet = places.namespace("internet")
        # The same in all labs, as one starts with a copy of another's databases (`Snapshot`).
        self.chassis = "lab-chassis"

    @property
    def database(self) -> str:
        """The OVSDB address of the switch itself."""
        return self._remote("ovsdb-server")

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

    def pid(self, part: str) -> int | None:
        """The process id of one of `parts`, None when it is down."""
        return live_pid(self._file(part, "pid"), self._places.folder)

    def come_backs(self, part: str) -> daemons.ComeBacks:
        """How often one of `parts` crashed and was started again by its monitor, and when last."""
        return daemons.come_backs(self._log(part))

    def start(self) -> None:
        """Have every daemon with its monitor up, the bridges, the internet host. Harmless twice."""
        fresh = namespaces.inode(self.namespace) is None
        namespaces.ensure(self._places, self.namespace)
        namespaces.ensure(self._places, self.internet)
        if fresh:  # daemons that outlived their namespace serve one that nobody can reach
            end(pid for part in self.parts for pid in self._processes(part))
        self._places.switch.mkdir(parents=True, exist_ok=True)
        for part in _SCHEMAS:
            self._start_database(part)
        self.vsctl("--no-wait", "init")
        self._configure()
        switch = ["ovs-vswitchd", self._remote("ovsdb-server"), "--disable-system"]
        self._start("ovs-vswitchd", switch)
        self._start(
            "ovn-northd",
            ["ovn-northd", f"--ovnnb-db={self.northbound}", f"--ovnsb-db={self.southbound}"],
        )
        self._start("ovn-controller", ["ovn-controller", self._remote("ovsdb-server")])
        self._connect_internet()

    def vsctl(self, *words: str) -> str:
        """Run ``ovs-vsctl`` on this lab's switch."""
        remote = self._remote("ovsdb-server")
        return run(["ovs-vsctl", f"--db={remote}", "--timeout=20", *words], env=self._environment)

    def plug(self, link: str, bridge: str, **external_ids: str) -> None:
        """Add device `link` of the fabric's namespace to `bridge`, anew if it was there."""
        ids = [f"external_ids:{k.replace('_', '-')}={_quoted(v)}" for k, v in external_ids.items()]
        setting = ["--", "set", "Interface", link, *ids] if ids else []
        self.vsctl("--if-exists", "del-port", link, "--", "add-port", bridge, link, *setting)

    def unplug(self, link: str) -> None:
        """Take `link` off its bridge; before the device goes, or the next is not seen."""
        self.vsctl("--if-exists", "del-port", link)

    def unplug_metadata(self) -> None:
        """Take off what Neutron's metadata agent plugged in: alone it tells no `attached-mac`."""
        found = json.loads(
            self.vsctl("-f", "json", "--columns=name,external_ids", "list", "Interface")
        )
        for name, (_, pairs) in found["data"]:
            ids = dict(pairs)
            if "iface-id" in ids and "attached-mac" not in ids:
                self.unplug(name)

    def sync(self) -> None:
        """Wait until ovn-controller has put all that OVN knows into the switch."""
        # It does not count a switch that was restarted and to which it has yet to reconnect.
        wait_until(self._has_flows, "ovn-controller to fill br-int", 60)
        run(
            ["ovn-nbctl", f"--db={self.northbound}", "--timeout=60", "--wait=hv", "sync"],
            env=self._environment,
        )

    def is_plugged(self, link: str) -> bool:
        """Whether `link` is on a bridge and the switch has it open."""
        number = self.vsctl("--if-exists", "get", "Interface", link, "ofport").strip()
        return number.isdigit()

    def _has_flows(self) -> bool:
        bridge = f"unix:{self._places.switch / 'br-int.mgmt'}"
        found = run(["ovs-ofctl", "dump-aggregate", bridge], check=False)
        return "flow_count=" in found and "flow_count=0\n" not in found

    @property
    def _environment(self) -> dict[str, str]:
        folder = str(self._places.switch)
        return {
            **self._places.environment,
            **{f"{p}_{d}": folder for p in ("OVS", "OVN") for d in ("RUNDIR", "LOGDIR", "DBDIR")},
        }

    def _file(self, part: str, ending: str) -> Path:
        return self._places.switch / f"{part}.{ending}"

    def _log(self, part: str) -> Path:
        return self._places.logs / f"{part}.log"

    def _processes(self, part: str) -> set[int]:
        """The daemon and its monitor; one that was started by an earlier version has none."""
        by_command = running(self._places.folder, f"--pidfile={self._file(part, 'pid')}")
        return daemons.processes(self._places.folder, part) | by_command

    def _remote(self, database: str) -> str:
        return f"unix:{self._file(database, 'sock')}"

    def _start_database(self, part: str) -> None:
        database = self._file(part, "db")
        if not database.exists():
            unfinished = self._file(part, "new")
            unfinished.unlink(missing_ok=True)
            run(["ovsdb-tool", "create", unfinished, _SCHEMAS[part]])
            unfinished.rename(database)
        remote = f"--remote=p{self._remote(part)}"
        self._start(part, ["ovsdb-server", database, remote])

    def _start(self, part: str, command: Sequence[str | Path]) -> None:
        pid = self.pid(part)
        if pid is not None and daemons.is_watched(pid, self._places.folder, part):
            return
        end(self._processes(part))
        self._file(part, "pid").unlink(missing_ok=True)
        log = self._log(part)
        log.parent.mkdir(parents=True, exist_ok=True)
        files = [f"--pidfile={self._file(part, 'pid')}", f"--log-file={log}"]
        # No core files: they would be written to the host's /.
        words = ["prlimit", "--core=0", *command, *daemons.OPTIONS, *files]
        environment = {**self._environment, daemons.PART: part}
        run(namespaces.inside(self.namespace, words), env=environment)

    def _configure(self) -> None:
        ids = {
            "system-id": self.chassis,
            "hostname": self.chassis,
            "ovn-remote": self.southbound,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": "127.0.0.1",
            "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:br-ex",
            "ovn-cms-options": "enable-chassis-as-gw",
            "ovn-monitor-all": "true",
        }
        settings = [f"external_ids:{key}={_quoted(value)}" for key, value in ids.items()]
        bridges: list[str] = []
        for bridge in ("br-int", "br-ex"):
            bridges += ["--", "--may-exist", "add-br", bridge]
            bridges += ["--", "set", "bridge", bridge, "datapath_type=netdev"]
        bridges += ["--", "set", "bridge", "br-int", "fail-mode=secure"]
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *settings, *bridges)

    def _connect_internet(self) -> None:
        """Give br-ex the API's address, and put the internet host behind it."""
        fabric, internet = self.namespace, self.internet
        wait_until(lambda: namespaces.has_link(fabric, "br-ex"), "the bridge br-ex", 30)
        namespaces.ip(fabric, "link", "set", "br-ex", "up")
        namespaces.ip(fabric, "addr", "replace", f"{API_ADDRESS}/{EXTERNAL_PREFIX}", "dev", "br-ex")
        whole = namespaces.has_link(fabric, "internet") and namespaces.has_link(internet, "eth0")
        # An `up` that was killed may have made the cable and not plugged it in.
        if not (whole and self.is_plugged("internet")):
            make_cable(self, "internet", internet, mtu=1500, mac=_INTERNET_MAC)
            self.plug("internet", "br-ex")
        namespaces.ip(internet, "link", "set", "eth0", "up")
        address = f"{INTERNET_ADDRESS}/{EXTERNAL_PREFIX}"
        namespaces.ip(internet, "addr", "replace", address, "dev", "eth0")
        namespaces.ip(internet, "addr", "replace", f"{FAR_ADDRESS}/32", "dev", "lo")


_CABLE = """
ip link add "$1" mtu "$5" type veth peer name "$3" mtu "$5" ${6:+address "$6"}
# The user-space datapath passes on frames whose checksum the sender left to the NIC.
for end in "$1" "$3"; do ethtool -K "$end" tx off; done
ip link set "$1" netns "$2"
ip link set "$3" netns "$4"
"""


def make_cable(
    switch: Switch, link: str, namespace: str, mtu: int, mac: str = "", device: str = "eth0"
) -> None:
    """A veth from `link` in the fabric to `device` in `namespace`, past the host's namespace.

    Whoever waits in `namespace` for a new device may take it away at once; so it is made in a
    namespace that nobody else sees, and comes when it is whole: down, and without an address.
    """
    switch.unplug(link)
    for where, name in ((switch.namespace, link), (namespace, device)):
        if namespaces.has_link(where, name):
            namespaces.ip(where, "link", "del", name)
    ends = [link, switch.namespace, device, namespace]
    run(["unshare", "--net", "sh", "-e", "-c", _CABLE, "cable", *ends, str(mtu), mac])
    namespaces.ip(switch.namespace, "link", "set", link, "up")


def _quoted(value: str) -> str:
    """`value` as an OVSDB string, whatever is in it."""
    return f'"{value}"'

"""Open vSwitch (user-space datapath) in a network namespace of its own, the internet behind it."""

from collections.abc import Mapping, Sequence
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


class Switch:
    """The lab's fabric: br-int, where nodes are plugged in, and br-ex with the internet behind.

    What makes networks of it is the matter of a `Driver`.
    """

    parts: tuple[str, ...] = ("ovsdb-server", "ovs-vswitchd")
    """The daemons, in the order in which `neutron-cni lab status` shows them."""

    schemas: Mapping[str, str] = {"ovsdb-server": "/usr/share/openvswitch/vswitch.ovsschema"}
    """Those of `parts` that are databases, each with what is in it."""

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
        for part in self.schemas:
            self._start_database(part)
        self.vsctl("--no-wait", "init")
        self._configure()
        self._start("ovs-vswitchd", ["ovs-vswitchd", self.database, "--disable-system"])
        self._start_others()
        self._connect_internet()

    def _start_others(self) -> None:
        """What a kind of switch has beyond Open vSwitch; its databases are there."""

    def vsctl(self, *words: str) -> str:
        """Run ``ovs-vsctl`` on this lab's switch."""
        command = ["ovs-vsctl", f"--db={self.database}", "--timeout=20", *words]
        return run(command, env=self._environment)

    def plug(self, link: str, bridge: str, **external_ids: str) -> None:
        """Add device `link` of the fabric's namespace to `bridge`, anew if it was there."""
        ids = [f"external_ids:{k.replace('_', '-')}={_quoted(v)}" for k, v in external_ids.items()]
        setting = ["--", "set", "Interface", link, *ids] if ids else []
        self.vsctl("--if-exists", "del-port", link, "--", "add-port", bridge, link, *setting)

    def unplug(self, link: str) -> None:
        """Take `link` off its bridge; before the device goes, or the next is not seen."""
        self.vsctl("--if-exists", "del-port", link)

    def is_plugged(self, link: str) -> bool:
        """Whether `link` is on a bridge and the switch has it open."""
        number = self.vsctl("--if-exists", "get", "Interface", link, "ofport").strip()
        return number.isdigit()

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
            run(["ovsdb-tool", "create", unfinished, self.schemas[part]])
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

    def _external_ids(self) -> dict[str, str]:
        """What the switch is told of itself and of its surroundings."""
        return {"system-id": self.chassis, "hostname": self.chassis}

    def _configure(self) -> None:
        ids = self._external_ids()
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

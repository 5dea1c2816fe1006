"""What the lab needs installed: Debian's programs are checked; Neutron, Nova, Go programs and the
VMs' kernel made."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import neutron_cni
from neutron_cni_lab.driver import Driver
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked
from neutron_cni_lab.golang import LOCK, toolchain
from neutron_cni_lab.installers import digest, is_made, make, make_venv
from neutron_cni_lab.kubernetes.multus import Multus
from neutron_cni_lab.kubernetes.programs import Programs
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.release import DEFAULT, ENVIRONMENTS, ReleaseName
from neutron_cni_lab.uml.kernel import Kernel
from neutron_cni_lab.uml.network_daemons import NetworkDaemons

_MAIN = ("bridge", "host-device", "ipvlan", "loopback", "macvlan", "ptp")
_IPAM = ("host-local", "static")
_META = ("bandwidth", "firewall", "portmap", "sbr", "tuning")
_FOLDERS = [
    f"{kind}/{name}"
    for kind, names in (("main", _MAIN), ("ipam", _IPAM), ("meta", _META))
    for name in names
]
_PLUGINS = [f"github.com/containernetworking/plugins/plugins/{path}@v1.9.1" for path in _FOLDERS]
_CNITOOL = "github.com/containernetworking/cni/cnitool@v1.3.0"

_PROGRAMS = {  # and those of the driver
    "openvswitch-switch": "/usr/sbin/ovs-vswitchd",
    "haproxy": "/usr/sbin/haproxy",
    "mariadb-server": "/usr/sbin/mariadbd",
    "iproute2": "/sbin/ip",
    "ethtool": "/sbin/ethtool",
    "util-linux": "/usr/bin/nsenter",
}

_LOCKS = LOCK.parent

_HIDDEN = (Path("/run"), Path("/sys"), Path("/var/lib"))
"""Where node.sh puts something of the node's in the place of the host's."""


class Software:
    """Installed programs in the cache folder, keyed by what they were made from."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._neutrons = {
            release: self._environment(name) for release, name in ENVIRONMENTS.items()
        }
        self.nova = self._environment("nova")
        go = LOCK.read_bytes()
        self._go = cache / f"go-{digest(go)}"
        self.cni = cache / f"cni-{digest(' '.join([*_PLUGINS, _CNITOOL]).encode(), go)}"
        self.kernel = Kernel(cache)
        self.kubernetes = Programs(cache)
        self.network_daemons = NetworkDaemons(cache)
        self.multus = Multus(cache)

    def neutron(self, release: ReleaseName) -> Path:
        """The environment of that Neutron."""
        return self._neutrons[release]

    def check(self, driver: Driver) -> None:
        """Raise `LabError` naming what is missing, or where nodes would not see this program.

        The VMs' kernel is asked for by `Kernel.check`, and an old Neutron or Nova are installed by
        `have`: not every lab has VMs, or one of these.
        """
        for path in (Path(sys.prefix), Path(neutron_cni.__file__).parent):
            for hidden in _HIDDEN:
                if path.resolve().is_relative_to(hidden.resolve()):
                    raise LabError(
                        f"a node has a {hidden} of its own, and would not see {path}",
                        "Move the checkout, to /opt for instance, and run scripts/setup there.",
                    )
        wanted = {**_PROGRAMS, **driver.programs}
        packages = [name for name, path in wanted.items() if not Path(path).exists()]
        if packages:
            raise LabError(f"not installed: {', '.join(packages)}", "Run scripts/setup first.")
        if not (is_made(self.neutron(DEFAULT)) and is_made(self.cni)):
            raise LabError(
                f"Neutron or the CNI programs are not in {self._cache}",
                "Run scripts/setup, or `neutron-cni lab install`.",
            )

    def install(self, progress: Progress) -> None:
        """Make what is missing, all of it at once; quick when nothing is."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with locked(self._cache / "lock"), ThreadPoolExecutor() as pool:
            jobs = [pool.submit(self.kernel.install, progress)]
            neutron = self.neutron(DEFAULT)
            if not is_made(neutron):
                jobs.append(pool.submit(self._make_environment, neutron, progress))
            if not is_made(self.cni):
                jobs.append(pool.submit(make, self.cni, self._make_cni, progress))
            for job in jobs:
                job.result()

    def have(self, environment: Path, progress: Progress) -> None:
        """Make Nova's or a Neutron's if it is missing, which the first lab that has one awaits."""
        if is_made(environment):
            return
        with locked(self._cache / "lock"):
            if not is_made(environment):
                self._make_environment(environment, progress)

    def _environment(self, name: str) -> Path:
        """Where what `name`.lock locks is installed."""
        return self._cache / f"{name}-{digest((_LOCKS / f'{name}.lock').read_bytes())}"

    def _make_environment(self, folder: Path, progress: Progress) -> None:
        lock = _LOCKS / f"{folder.name.partition('-')[0]}.lock"
        make(folder, lambda: make_venv(folder, lock), progress)

    def _make_cni(self) -> None:
        with toolchain(self._go) as go:
            go(["install", *_PLUGINS], env={"GOBIN": str(self.cni / "bin")})
            go(["install", _CNITOOL], env={"GOBIN": str(self.cni / "tools")})

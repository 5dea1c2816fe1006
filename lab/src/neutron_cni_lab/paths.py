"""Where things are: the folders, sockets, namespaces and the marker of one lab."""

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from neutron_cni_lab.errors import LabError

MARKER = "NEUTRON_CNI_LAB"
"""Environment variable that every process of a lab carries; its value is the lab's folder."""

_LONGEST_SOCKET_PATH = 107  # sizeof(sockaddr_un.sun_path) - 1, unix(7)


DEFAULT_HOME = Path("/var/lib/neutron-cni-lab")


def home() -> Path:
    """The folder that holds everything of every lab (``$NEUTRON_CNI_LAB_HOME``)."""
    return Path(os.environ.get("NEUTRON_CNI_LAB_HOME", DEFAULT_HOME)).absolute()


def default_name(otherwise: str = "demo") -> str:
    """The lab that is meant when none is named (``$NEUTRON_CNI_LAB_NAME``)."""
    return os.environ.get("NEUTRON_CNI_LAB_NAME", otherwise)


def name_for_checkout(word: str) -> str:
    """`word` with four digits that other checkouts on this machine don't have, as a lab's name."""
    checkout = Path(__file__).resolve().parents[3]
    return word + sha256(str(checkout).encode()).hexdigest()[:4]


@dataclass(frozen=True)
class Places:
    """The folders, sockets and namespaces of the lab called `name`. Makes nothing itself."""

    home: Path
    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", self.name):
            raise LabError(
                f"{self.name!r} can't be a lab's name",
                "Use up to 16 lower-case letters and digits, a letter first.",
            )
        if self.name == "cache":
            raise LabError("a lab can't be called 'cache': that folder holds installed software")
        # The longest socket names are the control sockets, ovn-controller.4194304.ctl.
        if len(str(self.switch / "ovn-controller.4194304.ctl")) > _LONGEST_SOCKET_PATH:
            raise LabError(
                f"the path {self.home} is too long for unix sockets",
                "Set NEUTRON_CNI_LAB_HOME to a shorter one.",
            )

    @property
    def cache(self) -> Path:
        """Installed software, shared by all labs."""
        return self.home / "cache"

    @property
    def folder(self) -> Path:
        """Everything of this lab; `Lab.down` removes it."""
        return self.home / self.name

    @property
    def lock(self) -> Path:
        """Held while the lab is changed; beside the folder, since the folder comes and goes."""
        return self.home / f"{self.name}.lock"

    @property
    def facts(self) -> Path:
        """What `up` made, as JSON."""
        return self.folder / "facts.json"

    @property
    def logs(self) -> Path:
        """One log file a part."""
        return self.folder / "logs"

    @property
    def kept_logs(self) -> Path:
        """Where `Lab.down` leaves the logs if it is asked to."""
        return self.home / f"logs-of-{self.name}"

    @property
    def switch(self) -> Path:
        """Databases, sockets and pid files of Open vSwitch and OVN."""
        return self.folder / "ovs"

    @property
    def database(self) -> Path:
        """MariaDB's folder: ``data/``, ``sock``, ``pid``."""
        return self.folder / "db"

    @property
    def database_socket(self) -> Path:
        """Where MariaDB listens; it has no TCP port."""
        return self.database / "sock"

    @property
    def neutron(self) -> Path:
        """Neutron's configuration and state."""
        return self.folder / "neutron"

    @property
    def nova(self) -> Path:
        """Nova's and Placement's configuration and state."""
        return self.folder / "nova"

    def node(self, name: str) -> Path:
        """The folder of one node."""
        return self.folder / "nodes" / name

    @property
    def namespace_prefix(self) -> str:
        """What the names of this lab's network namespaces start with."""
        # Namespaces are the machine's: labs of one name in two homes must not meet there.
        elsewhere = sha256(str(self.home).encode()).hexdigest()[:4]
        return f"ncl{'' if self.home == DEFAULT_HOME else elsewhere}-{self.name}-"

    def namespace(self, part: str) -> str:
        """The network namespace of `part`: ``fabric``, ``internet`` or a node's name."""
        return self.namespace_prefix + part

    @property
    def environment(self) -> dict[str, str]:
        """The marker, by which `down` finds this lab's processes and no others."""
        return {MARKER: str(self.folder)}

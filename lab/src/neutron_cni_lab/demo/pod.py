"""A pod as an operator makes one by hand: a network namespace and upstream's ``cnitool``."""

import ipaddress
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.node import Node

CNI_PATH = "/opt/cni/bin"
CONF_DIR = "/etc/cni/net.d"


@dataclass(frozen=True)
class Pod:
    """A network namespace of `node`, attached to its CNI network `network` found in `conf_dir`."""

    node: Node
    name: str
    network: str = "neutron"
    conf_dir: str = CONF_DIR

    @property
    def netns(self) -> str:
        """The path of its namespace, on the node."""
        return f"/run/netns/{self.name}"

    def add(self) -> dict[str, Any]:
        """Make the namespace unless it is there, and attach it: the CNI result. Harmless twice."""
        if self.node.exec(["test", "-e", self.netns], check=False).returncode:
            self.node.exec(["ip", "netns", "add", self.name])
        result: dict[str, Any] = json.loads(self._cnitool("add").stdout)
        return result

    def check(self) -> None:
        """`LabError` with what is not as `add` left it."""
        self._cnitool("check")

    def detach(self) -> None:
        """Detach it; the namespace stays. Harmless twice."""
        self._cnitool("del")

    def delete(self) -> None:
        """Detach it, and remove the namespace. Harmless twice."""
        self.detach()
        self.node.exec(["ip", "netns", "del", self.name], check=False)

    @property
    def address(self) -> str:
        """The IPv4 address of its eth0, as its kernel says; `LabError` when it has none."""
        words = ["ip", "-n", self.name, "-4", "-j", "addr", "show", "dev", "eth0"]
        links = json.loads(self.node.exec(words).stdout)
        found = [item["local"] for link in links for item in link.get("addr_info", [])]
        if not found:
            raise LabError(f"{self.name} on {self.node.name} has no address")
        return str(ipaddress.ip_address(found[0]))

    def exec(
        self, words: Sequence[str | Path], *, check: bool = True, timeout: float | None = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `words` in the pod; see `Node.exec`."""
        return self.node.exec(self._inside(words), check=check, timeout=timeout)

    def popen(
        self, words: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start `words` in the pod; see `Node.popen`."""
        return self.node.popen(self._inside(words), env=env, **options)

    def _inside(self, words: Sequence[str | Path]) -> list[str | Path]:
        return ["ip", "netns", "exec", self.name, *words]

    def _cnitool(self, command: str) -> subprocess.CompletedProcess[str]:
        """Its container id is made from the path: the same at every call for the same pod."""
        env = {"CNI_PATH": CNI_PATH, "NETCONFPATH": self.conf_dir}
        return self.node.exec(["cnitool", command, self.network, self.netns], env=env)

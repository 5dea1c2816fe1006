"""A node with the host's kernel: network, mount and host-name namespaces, held by one process."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neutron_cni_lab import namespaces
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.machine import Layer, Machine
from neutron_cni_lab.nics import NamespaceNics
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import all_of, daemon, end, wait_until
from neutron_cni_lab.switch import Switch

_SETUP = Path(__file__).parent / "node.sh"


class NamespaceMachine(Machine):
    """What `node.sh` makes; its /etc, /opt and /usr/local are layers above the host's."""

    def __init__(self, places: Places, switch: Switch, name: str, facts: Mapping[str, Any]) -> None:
        super().__init__(places, switch, name, facts)
        self.nics = NamespaceNics(places, switch, self.node)

    def _is_whole(self) -> bool:
        """Whether the holder lives, in the namespace that now has the node's name."""
        pid = self.node.pid
        return pid is not None and namespaces.holds(self.node.namespace, pid)

    def _end_processes(self) -> None:
        """End the holder and everything that runs with the node's mounts or in its namespace."""
        inode = namespaces.inode(self.node.namespace)
        inodes = [] if inode is None else [inode]
        end(all_of(self._places.folder, inodes, within=self._folder), patience=1)
        (self._folder / "pid").unlink(missing_ok=True)

    def _layer(self, part: Layer) -> Path:
        return self._folder / "root" / part.replace("/", "-") / "upper"

    def _has_file(self, path: str) -> bool:
        return (self._layer("etc") / Path(path).relative_to("/etc")).exists()

    def _start(self) -> None:
        """Start the process that keeps the node's mount, host name and network namespaces."""
        self._prepare_layers()
        log = self._new_log()
        unshare = ["unshare", "--mount", "--uts", "--propagation=slave"]
        daemon(
            namespaces.inside(
                self.node.namespace, [*unshare, "sh", _SETUP, self.node.name, self._folder]
            ),
            env=self._places.environment,
            log=log,
        )
        try:
            wait_until(lambda: self.node.pid is not None, f"node {self.node.name}", 30)
        except LabError as error:
            raise LabError(error.message, f"It said: {log.read_text()[-1000:]}") from None

    def _prepare_layers(self) -> None:
        root = self._folder / "root"
        for part in ("etc", "opt", "usr-local"):
            (root / part / "upper").mkdir(parents=True, exist_ok=True)
            work = root / part / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        (root / "var-lib" / "root").mkdir(parents=True, exist_ok=True)

    def _address(self) -> None:
        for words in self._network():
            namespaces.ip(self.node.namespace, *words)

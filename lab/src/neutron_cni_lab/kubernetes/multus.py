"""Multus, the plugin that gives pods further networks, built from source like Kubernetes.

``python -m neutron_cni_lab.kubernetes.multus v4.3.0`` has the lab build another one: it writes
go.mod and go.sum anew.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked
from neutron_cni_lab.golang import LOCK, toolchain
from neutron_cni_lab.installers import digest, is_made, make
from neutron_cni_lab.node import Node
from neutron_cni_lab.progress import Progress

_MODULE = LOCK.parent / "multus"
"""go.mod and go.sum: which version, and the digests of all that it is made from."""
_NAME = "gopkg.in/k8snetworkplumbingwg/multus-cni.v4"
_PACKAGE = f"{_NAME}/cmd/multus"
"""The thin plugin: one program that does all by itself, without a daemon on the node."""
_ON_NODE = "/opt/cni/bin/multus"
_MOUNT = """
mkdir -p /run/multus
mountpoint -q /run/multus || mount -t hostfs -o {folder},ro none /run/multus
ln -sf /run/multus/multus {program}
"""
"""A VM reads the host's file where it is: to copy it takes longer than all else."""


class Multus:
    """The program in the cache folder, keyed by what it is made from."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        module = [(_MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
        made_from = digest(*module, _PACKAGE.encode(), LOCK.read_bytes())
        self.folder = cache / f"multus-{_version(module[0].decode())}-{made_from}"

    @property
    def program(self) -> Path:
        """`LabError` if it is not built."""
        if not is_made(self.folder):
            hint = "`neutron-cni lab install --kubernetes` builds it, in a minute or two."
            raise LabError(f"Multus is not in {self._cache}", hint)
        return self.folder / "multus"

    def install(self, progress: Progress) -> None:
        """Build it unless it is there; waits while somebody else is at it."""
        waiting = f"waiting for another build of {self.folder.name} ..."
        with locked(self._cache / "multus.lock", lambda: progress.note(waiting)):
            if not is_made(self.folder):
                make(self.folder, self._build, progress)

    def put_on(self, node: Node) -> None:
        """Have it among the CNI programs of `node`, until it reboots."""
        if node.kernel == "own":
            folder = self.program.parent
            node.exec(["sh", "-ec", _MOUNT.format(folder=folder, program=_ON_NODE)])
            return
        write = f"cat >{_ON_NODE}.new && chmod 755 {_ON_NODE}.new && mv {_ON_NODE}.new {_ON_NODE}"
        with (
            self.program.open("rb") as program,
            node.popen(["sh", "-c", write], stdin=program) as copying,
        ):
            status = copying.wait(120)
        if status:
            raise LabError(f"Multus could not be copied to {node.name}")

    def _build(self) -> None:
        self.folder.mkdir()
        with toolchain(self._cache / "go-for-multus") as go:
            module = self._cache / "go-for-multus" / "module"
            shutil.copytree(_MODULE, module)
            flags = ["-trimpath", "-ldflags=-s -w", "-o", str(self.folder / "multus")]
            go(["build", *flags, _PACKAGE], cwd=module)


def _version(module: str) -> str:
    found = re.search(rf"^require {re.escape(_NAME)} (v\S+)$", module, re.MULTILINE)
    if found is None:
        raise LabError(f"{_MODULE / 'go.mod'} does not say which Multus it is for")
    return found[1]


def main(version: str) -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder, toolchain(Path(folder) / "go") as go:
        place = Path(folder)
        wanted = f"module neutron-cni-lab/multus\ngo 1.25.0\nrequire {_NAME} {version}\n"
        (place / "go.mod").write_text(wanted)
        go(["list", "-mod=mod", "-deps", _PACKAGE], cwd=place)
        _MODULE.mkdir(exist_ok=True)
        for name in ("go.mod", "go.sum"):
            (_MODULE / name).write_text((place / name).read_text())


if __name__ == "__main__":
    main(sys.argv[1])

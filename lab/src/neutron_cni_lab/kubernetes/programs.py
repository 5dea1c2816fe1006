"""Kubernetes' own programs and etcd, built from source: no registry that serves them is needed.

Not by ``neutron-cni lab install``, unless it is asked to: it takes minutes, and most of what a lab
is for needs no Kubernetes.
"""

import json
import re
import shutil
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import locked
from neutron_cni_lab.golang import LOCK, toolchain
from neutron_cni_lab.installers import digest, is_made, make
from neutron_cni_lab.progress import Progress

MODULE = LOCK.parent / "kubernetes"
"""go.mod and go.sum: which versions of what, with their digests."""

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
}
"""Programs by name: the package of each."""


class Programs:
    """The programs in the cache folder, keyed by what they are made from."""

    def __init__(self, cache: Path) -> None:
        module = [(MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
        made_from = digest(*module, json.dumps(PACKAGES).encode(), LOCK.read_bytes())
        self._cache = cache
        self.version = _version(module[0].decode())
        """Kubernetes', as ``v1.36.3``."""
        self.folder = cache / f"kubernetes-{self.version}-{made_from}"
        """It holds the programs and nothing else."""

    @property
    def is_made(self) -> bool:
        """Whether `install` has been here."""
        return is_made(self.folder)

    def path(self, name: str) -> Path:
        """The program `name`; `LabError` if it is not built."""
        if not self.is_made:
            hint = "`neutron-cni lab install --kubernetes` builds it, in some minutes."
            raise LabError(f"{name} is not in {self._cache}", hint)
        return self.folder / name

    def install(self, progress: Progress) -> None:
        """Build them unless they are there; waits while somebody else is at it."""
        waiting = f"waiting for another build of {self.folder.name} ..."
        with locked(self._cache / "kubernetes.lock", lambda: progress.note(waiting)):
            if not self.is_made:
                make(self.folder, self._build, progress)

    def _build(self) -> None:
        self.folder.mkdir()
        module = self._cache / "kubernetes-module"
        shutil.rmtree(module, ignore_errors=True)
        shutil.copytree(MODULE, module)
        with toolchain(self._cache / "go-for-kubernetes") as go:
            for name, package in PACKAGES.items():
                flags = ["-trimpath", "-ldflags", self._stamps(), "-o", str(self.folder / name)]
                go(["build", *flags, package], cwd=module)
        shutil.rmtree(module)

    def _stamps(self) -> str:
        """What the linker writes into programs whose version nobody else tells them."""
        major, minor, _ = self.version.removeprefix("v").split(".")
        stamps = {
            "k8s.io/component-base/version.gitVersion": self.version,
            "k8s.io/component-base/version.gitMajor": major,
            "k8s.io/component-base/version.gitMinor": minor,
            "k8s.io/client-go/pkg/version.gitVersion": self.version,
        }
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamps.items())])


def _version(module: str) -> str:
    found = re.search(r"^require k8s\.io/kubernetes (v\d+\.\d+\.\d+)$", module, re.MULTILINE)
    if found is None:
        raise LabError(f"{MODULE / 'go.mod'} does not say which Kubernetes it is for")
    return found[1]

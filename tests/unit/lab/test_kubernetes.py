"""What the lab decides about Kubernetes: where its programs come from, and where they run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neutron_cni_lab import LabError, Node, golang
from neutron_cni_lab.installers import make
from neutron_cni_lab.kubernetes import lock, proxy
from neutron_cni_lab.kubernetes.control_plane import ControlPlane
from neutron_cni_lab.kubernetes.multus import Multus
from neutron_cni_lab.kubernetes.programs import MODULE, Programs
from neutron_cni_lab.kubernetes.proxy import KubeProxy
from neutron_cni_lab.paths import Places
from neutron_cni_lab.progress import Progress

QUIET = Progress(quiet=True)

THEIRS = """\
module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
\tgithub.com/spf13/pflag v1.0.9
\tk8s.io/api v0.0.0
\tk8s.io/utils v0.0.0-20260101000000-0123456789ab // indirect
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
)
"""

BUILDER = """
import sys
from pathlib import Path
from neutron_cni_lab import golang

def make_venv(folder, lock):
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "go"
    program.write_text("#!/bin/sh\\necho $$ >$1; exec sleep 60")
    program.chmod(0o755)

golang.make_venv = make_venv
with golang.toolchain(Path(sys.argv[1], "go")) as go:
    go([sys.argv[1] + "/pid"])
"""
"""Its `go` takes a minute, and says which process it is."""


def test_modules_that_kubernetes_has_in_its_repository_are_taken_as_they_are_published() -> None:
    made = lock.module("v1.36.3", THEIRS)
    assert "require k8s.io/kubernetes v1.36.3\n" in made
    assert "\tk8s.io/api => k8s.io/api v0.36.3\n" in made
    assert "\tgithub.com/spf13/pflag v1.0.9\n" in made
    assert "\tk8s.io/utils v0.0.0-20260101000000-0123456789ab\n" in made
    assert "v0.0.0\n" not in made
    assert "go 1.26.0\ngodebug default=go1.26\n" in made


def test_programs_are_of_the_version_that_is_locked(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    assert f"require k8s.io/kubernetes {programs.version}\n" in (MODULE / "go.mod").read_text()
    assert programs.folder.name.startswith(f"kubernetes-{programs.version}-")


def test_a_program_that_is_not_built_is_named_with_what_builds_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="kube-proxy is not in") as caught:
        Programs(tmp_path).path("kube-proxy")
    assert "neutron-cni lab install --kubernetes" in caught.value.hint


def test_programs_that_are_there_are_not_built_again(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    make(programs.folder, programs.folder.mkdir, QUIET)
    programs.install(QUIET)
    assert programs.path("etcd") == programs.folder / "etcd"


def test_a_build_ends_with_who_began_it(tmp_path: Path) -> None:
    """Or it would write into the folder of the next one."""
    with subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path)]) as builder:
        pid = tmp_path / "pid"
        while not (pid.exists() and pid.read_text().strip()):
            assert builder.poll() is None
            time.sleep(0.01)
        builder.kill()
    child = int(pid.read_text())
    give_up = time.monotonic() + 30
    try:
        while _runs(child):
            assert time.monotonic() < give_up
            time.sleep(0.01)
    finally:
        if _runs(child):
            os.kill(child, signal.SIGKILL)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "make_venv", lambda folder, lock: folder.mkdir())
    with pytest.raises(LabError, match="go build"), golang.toolchain(tmp_path / "go") as go:
        go(["build"])
    assert list(tmp_path.iterdir()) == []


def test_kube_proxy_does_not_run_on_the_hosts_kernel(tmp_path: Path) -> None:
    facts = {"kind": "vm", "network": "tenant", "addresses": ["10.10.0.5/20"]}
    node = Node(Places(tmp_path, "lab"), "node1", facts)
    plane = object.__new__(ControlPlane)
    with pytest.raises(LabError, match="kube-proxy is not run on node1") as caught:
        KubeProxy(plane, node, {})
    assert "uml" in caught.value.hint


def test_what_leads_to_a_backend_is_read_from_the_rules() -> None:
    rules = """
-A KUBE-SEP-A -p tcp -m comment --comment "default/one" -j DNAT --to-destination 10.20.0.9:8080
-A KUBE-SEP-B -p tcp -m comment --comment "default/two:web" -j DNAT --to-destination [fd20::9]:8080
-A KUBE-SEP-B -s 10.20.0.8/32 -m comment --comment "default/three" -j KUBE-MARK-MASQ
"""
    assert proxy.ways(rules) == {("one", "10.20.0.9"), ("two", "fd20::9")}


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_multus_is_known_by_its_version_and_who_lacks_it_is_told_what_builds_it(
    tmp_path: Path,
) -> None:
    multus = Multus(tmp_path)
    assert re.fullmatch(r"multus-v\d+\.\d+\.\d+-[0-9a-f]{12}", multus.folder.name)
    with pytest.raises(LabError, match="Multus is not in") as caught:
        _ = multus.program
    assert "lab install --kubernetes" in str(caught.value)
    make(multus.folder, lambda: multus.folder.mkdir(), QUIET)
    assert multus.program == multus.folder / "multus"

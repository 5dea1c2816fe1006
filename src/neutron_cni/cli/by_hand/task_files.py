"""Finds containers by what their runtimes leave on disk, for runtimes that are not asked.

containerd has a folder for each running container, with the pid of its first process and its OCI
configuration; Kubernetes' names are annotations in that. It speaks gRPC only, which we have no
client of; its folders are there for whoever uses it (CRI, ctr, nerdctl, Docker). podman and CRI-O
keep theirs as the library containers/storage has it. So no program is needed, and no service must
run. A pid file may outlast its process; the process is the container's if its control group is
called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from neutron_cni import files
from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.cni.document import convert, decode
from neutron_cni.values.attachment import PodRef
from neutron_cni.values.errors import CniError

TASKS = tuple(
    f"{folder}/io.containerd.runtime.v2.task"
    for folder in ("run/containerd", "run/k3s/containerd", "run/docker/containerd/daemon")
)
"""Below the root: where containerd has NAMESPACE/ID/, of a daemon of its own, k3s's or Docker's."""
_RUNTIMES = {"moby": "docker"}
"""What stands behind a namespace of containerd's."""
STORAGE = "run/containers/storage"
GRAPH = "var/lib/containers/storage"
_LISTS = "*-containers/*containers.json"
"""By the storage's driver: containers.json, and volatile-containers.json, where all of CRI-O's are,
and podman's that go when they end (--rm); in STORAGE if nothing is to outlast a reboot."""

_NAMES = (
    "nerdctl/name",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.container.name",
    "io.kubernetes.pod.name",
)
_SANDBOX = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
_MANAGER = "io.container.manager"
_POD_NAMESPACE = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
_POD_NAME = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_POD_UID = ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid")
_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_.-]*")


class _Spec(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Stored(msgspec.Struct):
    id: str
    names: list[str] | None = None


class _Store(msgspec.Struct):
    containers: list[_Stored]


def find(word: str, root: str = "/") -> list[Container]:
    """The containers that can be meant by `word`. What can't be read is passed over."""
    found = [*_tasks(Path(root)), *_stored(Path(root))]
    return [item for item in found if item.is_called(word)]


def _tasks(root: Path) -> Iterator[Container]:
    for folder in TASKS:
        for task in sorted((root / folder).glob("*/*/")):
            if _ID.fullmatch(task.name):
                runtime = _RUNTIMES.get(task.parent.name, "containerd")
                notes = _annotations(task / "config.json")
                yield _container(root, runtime, task.name, task / "init.pid", notes, ())


def _stored(root: Path) -> Iterator[Container]:
    lists = [path for home in (GRAPH, STORAGE) for path in sorted((root / home).glob(_LISTS))]
    for listed in lists:
        kept, runs = (root / home / listed.parent.name for home in (GRAPH, STORAGE))
        for item in _list(listed):
            notes = _annotations(kept / item.id / "userdata/config.json") or _annotations(
                runs / item.id / "userdata/config.json"
            )
            # podman writes CRI-O's annotation for a container of a pod, too.
            is_podmans = notes.get(_MANAGER) == "libpod" or _SANDBOX[1] not in notes
            runtime = "podman" if is_podmans else "CRI-O"
            pid = runs / item.id / "userdata/pidfile"
            yield _container(root, runtime, item.id, pid, notes, tuple(item.names or ()))


def _container(
    root: Path, runtime: str, id_: str, pid: Path, notes: dict[str, str], names: tuple[str, ...]
) -> Container:
    namespace, name = _first(notes, _POD_NAMESPACE), _first(notes, _POD_NAME)
    pod = f"{namespace}/{name}" if namespace and name else ""
    called = (pod, *names, *(notes.get(key, "") for key in _NAMES))
    return Container(
        runtime=runtime,
        id=id_,
        names=tuple(dict.fromkeys(item for item in called if item)),
        pid=_running(root, pid, id_),
        sandbox=_first(notes, _SANDBOX),
        pod=PodRef(namespace, name, _first(notes, _POD_UID)) if pod else PodRef(),
    )


def _running(root: Path, file: Path, container: str) -> int:
    """The pid in the file if its process is of that container, else 0."""
    try:
        pid = int(files.read(str(file)))
        groups = (root / "proc" / str(pid) / "cgroup").read_text()
    except (OSError, ValueError):
        return 0
    return pid if container in groups else 0


def _annotations(file: Path) -> dict[str, str]:
    try:
        spec = convert(decode(files.read(str(file)), "it"), _Spec)
    except (OSError, CniError):
        return {}
    return spec.annotations or {}


def _list(file: Path) -> list[_Stored]:
    try:
        document: Any = {"containers": msgspec.json.decode(files.read(str(file), 64 << 20))}
        found = convert(document, _Store).containers
    except (OSError, ValueError, CniError):
        return []
    return [item for item in found if _ID.fullmatch(item.id)]


def _first(notes: dict[str, str], keys: tuple[str, ...]) -> str:
    return next((notes[key] for key in keys if notes.get(key)), "")

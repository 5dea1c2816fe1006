"""Containers found by what their runtimes leave on disk.

The layouts are those of containerd 1.6.20 (ctr, and Docker's own), podman 4.3.1, both seen, and of
CRI-O as its sources have it (server/sandbox_run_linux.go, internal/factory/container/container.go,
internal/storage/runtime.go, internal/oci/runtime_oci.go; it lists all as volatile, and by default
drops the sandbox's process); annotations are those that CRI-O and containerd's CRI plugin write.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.cli.by_hand.task_files import find
from neutron_cni.values.attachment import PodRef

SANDBOX = "aa" * 32
INNER = "bb" * 32
GRAPH = "var/lib/containers/storage/overlay-containers"
RUN = "run/containers/storage/overlay-containers"
PODMAN = "ef31db4d89c988cfb0862d1dccbe7669aa4e7bc514af0c004e8e6c33a3d34f9f"
POD = {
    "io.kubernetes.cri.container-type": "sandbox",
    "io.kubernetes.cri.sandbox-id": SANDBOX,
    "io.kubernetes.cri.sandbox-name": "web-1",
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-uid": "u1",
}


class Machine:
    """A file system, with processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def runs(self, pid: int, group: str) -> None:
        """A process in that control group (version 2)."""
        self.put(f"proc/{pid}/cgroup", f"0::{group}\n")

    def task(
        self, pid: int, id_: str, notes: dict[str, str] | None, at: str = "k8s.io", home: str = ""
    ) -> None:
        """A task of containerd's."""
        folder = f"{home or 'run/containerd'}/io.containerd.runtime.v2.task/{at}/{id_}"
        spec = {"ociVersion": "1.0.2", **({"annotations": notes} if notes is not None else {})}
        self.put(f"{folder}/config.json", json.dumps(spec))
        self.put(f"{folder}/init.pid", str(pid))
        self.runs(pid, f"/system.slice/cri-containerd-{id_}.scope")

    def stored(
        self,
        pid: int,
        id_: str,
        name: str,
        notes: dict[str, str] | None = None,
        where: str = f"{GRAPH}/containers.json",
    ) -> None:
        """A container of podman's or CRI-O's, in the list at `where`. pid 0: it has no process."""
        file = self.root / where
        listed = json.loads(file.read_text()) if file.exists() else []
        listed += [{"id": id_, "names": [name], "image": "i", "layer": "l", "metadata": "{}"}]
        self.put(where, json.dumps(listed))
        self.put(f"{GRAPH}/{id_}/userdata/config.json", json.dumps({"annotations": notes or {}}))
        if pid:
            self.put(f"{RUN}/{id_}/userdata/pidfile", f"{pid}\n")
            self.runs(pid, f"/machine.slice/libpod-{id_}.scope")

    def find(self, word: str) -> list[Container]:
        return find(word, str(self.root))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("word", ["shop/web-1", "web-1", SANDBOX, SANDBOX[:12]])
def test_a_pod_is_found_by_name_and_by_the_id_of_its_sandbox(machine: Machine, word: str) -> None:
    machine.task(41, SANDBOX, POD)
    (found,) = machine.find(word)
    assert found.pid == 41
    assert found.pod == PodRef("shop", "web-1", "u1")
    assert str(found) == "the containerd container shop/web-1 (aaaaaaaaaaaa)"


@pytest.mark.parametrize("word", ["nginx", INNER[:4]])
def test_a_container_of_a_pod_leads_to_the_pods_network(machine: Machine, word: str) -> None:
    notes = {**POD, "io.kubernetes.cri.container-name": "nginx"}
    machine.task(42, INNER, {**notes, "io.kubernetes.cri.container-type": "container"})
    (found,) = machine.find(word)
    assert (found.pid, found.network_id) == (42, SANDBOX)


def test_any_user_of_containerd_is_seen(machine: Machine) -> None:
    machine.task(43, "task1", None, at="default")
    machine.task(44, "cc" * 32, {"nerdctl/name": "db"}, at="default")
    machine.task(45, "dd" * 32, POD, home="run/k3s/containerd")
    machine.task(46, "ee" * 32, None, at="moby", home="run/docker/containerd/daemon")
    assert [item.pid for item in machine.find("task1")] == [43]
    assert [item.pid for item in machine.find("db")] == [44]
    assert [item.pid for item in machine.find("dddd")] == [45]
    assert [(item.pid, item.runtime) for item in machine.find("eeee")] == [(46, "docker")]


@pytest.mark.parametrize("word", ["web", PODMAN, PODMAN[:6]])
def test_podman_needs_no_service(machine: Machine, word: str) -> None:
    machine.stored(26587, PODMAN, "web")
    (found,) = machine.find(word)
    assert (found.pid, found.runtime, found.names) == (26587, "podman", ("web",))


@pytest.mark.parametrize("home", [GRAPH, RUN], ids=["", "transient store"])
def test_a_container_that_goes_when_it_ends_is_found(machine: Machine, home: str) -> None:
    """podman run --rm. The others are in a list beside it."""
    machine.stored(26586, "cc" * 32, "db")
    machine.stored(26587, PODMAN, "web", where=f"{home}/volatile-containers.json")
    assert [item.pid for word in ("web", "db") for item in machine.find(word)] == [26587, 26586]


def test_a_container_of_a_pod_of_podmans_is_podmans(machine: Machine) -> None:
    """podman gives it CRI-O's annotation as well."""
    notes = {"io.container.manager": "libpod", "io.kubernetes.cri-o.SandboxID": SANDBOX}
    machine.stored(26587, PODMAN, "web", notes)
    (found,) = machine.find("web")
    assert (found.runtime, found.network_id) == ("podman", SANDBOX)


def crio(machine: Machine, pause: int, web: int) -> None:
    """A pod of CRI-O's: its sandbox, with a process or (0) without, and a container."""
    volatile = f"{GRAPH}/volatile-containers.json"
    sandbox = {
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.SandboxID": SANDBOX,
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "u1",
    }
    container = {**sandbox, "io.kubernetes.container.name": "nginx"}
    machine.stored(pause, SANDBOX, "k8s_POD_web-1_shop_u1_0", sandbox, volatile)
    machine.stored(web, INNER, "k8s_nginx_web-1_shop_u1_0", container, volatile)


@pytest.mark.parametrize("word", ["shop/web-1", "web-1", SANDBOX, SANDBOX[:12]])
@pytest.mark.parametrize("pause", [51, 0], ids=["", "without a process of the sandbox's"])
def test_a_pod_of_crio_is_found(machine: Machine, pause: int, word: str) -> None:
    """Without such a process, as is its default, the network is that of the containers."""
    crio(machine, pause, 52)
    found = machine.find(word)
    assert [(item.runtime, item.pid) for item in found] == [("CRI-O", pause), ("CRI-O", 52)]
    assert {(item.network_id, item.pod) for item in found} == {
        (SANDBOX, PodRef("shop", "web-1", "u1"))
    }


@pytest.mark.parametrize("word", ["nginx", INNER[:4], "k8s_nginx_web-1_shop_u1_0"])
def test_a_container_of_crio_leads_to_the_pods_network(machine: Machine, word: str) -> None:
    crio(machine, 0, 52)
    (found,) = machine.find(word)
    assert (found.pid, found.network_id) == (52, SANDBOX)


def test_a_pid_that_is_used_again_is_not_the_containers(machine: Machine) -> None:
    machine.task(41, SANDBOX, POD)
    machine.runs(41, "/user.slice/somebody.scope")
    (found,) = machine.find("web-1")
    assert found.pid == 0


def test_one_whose_process_has_ended_does_not_run(machine: Machine) -> None:
    machine.stored(51, PODMAN, "web")
    (machine.root / "proc/51/cgroup").unlink()
    (found,) = machine.find("web")
    assert found.pid == 0


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"annotations": 7}', '{"annotations": null}'])
def test_a_configuration_that_says_nothing_leaves_the_id(machine: Machine, text: str) -> None:
    machine.task(41, SANDBOX, POD)
    machine.put(f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{SANDBOX}/config.json", text)
    assert machine.find("web-1") == []
    assert [item.pid for item in machine.find(SANDBOX)] == [41]


@pytest.mark.parametrize("text", ["", "{", '{"id": 1}', '[{"id": "../../etc", "names": ["web"]}]'])
def test_a_list_that_says_nothing_has_no_containers(machine: Machine, text: str) -> None:
    machine.put("var/lib/containers/storage/overlay-containers/containers.json", text)
    assert machine.find("web") == []


def test_short_beginnings_of_an_id_mean_nothing(machine: Machine) -> None:
    machine.task(41, SANDBOX, POD)
    assert machine.find("aaa") == []


def test_a_machine_without_runtimes_has_none(machine: Machine) -> None:
    assert machine.find("web") == []

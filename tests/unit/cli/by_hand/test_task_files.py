"""Containers found by what their runtimes leave on disk.

The layouts are those of containerd 1.6.20 (ctr, and Docker's own), podman 4.3.1, both seen, and of
CRI-O as its sources have it; annotations are those that containerd's CRI plugin writes.
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

    def stored(self, pid: int, id_: str, name: str, notes: dict[str, str] | None = None) -> None:
        """A container of podman's or CRI-O's."""
        graph = "var/lib/containers/storage/overlay-containers"
        listed = [{"id": id_, "names": [name], "image": "i", "layer": "l", "metadata": "{}"}]
        self.put(f"{graph}/containers.json", json.dumps(listed))
        self.put(f"{graph}/{id_}/userdata/config.json", json.dumps({"annotations": notes or {}}))
        pid_file = f"run/containers/storage/overlay-containers/{id_}/userdata/pidfile"
        self.put(pid_file, f"{pid}\n")
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


def test_a_pod_of_crio_is_found(machine: Machine) -> None:
    notes = {
        "io.kubernetes.cri-o.SandboxID": SANDBOX,
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "u1",
    }
    machine.stored(51, SANDBOX, "k8s_POD_web-1_shop_u1_0", notes)
    (found,) = machine.find("shop/web-1")
    assert (found.runtime, found.pid) == ("CRI-O", 51)
    assert found.pod == PodRef("shop", "web-1", "u1")


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

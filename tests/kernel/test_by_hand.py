"""`neutron-cni attach` and `detach` on real namespaces: what can be named, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.kernel.by_hand import SECONDS, TOOL, Container, Site, netns, process


def test_a_process_is_attached_and_detached_and_nothing_stays(
    site: Site, container: Container
) -> None:
    pid = str(container.pid)
    said = site.run("attach", pid)
    assert site.links(netns(container)) == {"lo", "eth0"}
    assert "address: 10.77.0.5/24" in said
    assert f"nsenter --net=/proc/{pid}/ns/net ip addr add 10.77.0.5/24 dev eth0" in said
    assert not [x for x in Path("/run/netns").iterdir() if x.is_symlink() and pid in str(x)]
    assert f"nsenter --net=/proc/{pid}/ns/net ip link del eth0" in site.run("detach", pid)
    assert site.links(netns(container)) == {"lo"}
    assert site.is_clean


def test_the_commands_that_are_told_do_the_same_when_typed(site: Site) -> None:
    pod = site.world.add("pod")
    told = json.loads(site.run("attach", pod, "--json"))
    shown = site.world.text("pod", "addr"), site.world.text("pod", "route")
    site.run("detach", pod)
    script = "set -e\n" + "\n".join(told["commands"])
    site.world.do("node", "sh", "-c", script)
    again = site.world.text("pod", "addr", "show", "dev", "eth0"), site.world.text("pod", "route")
    assert again[1] == shown[1]
    assert any("inet 10.77.0.5/24" in line for line in again[0])
    assert site.world.text("node", "route")


@pytest.mark.parametrize("how", ["{name}", "{path}", "netns:{name}", "netns:{path}"])
def test_a_named_namespace_is_named_in_any_way(site: Site, how: str) -> None:
    path = site.world.add("pod")
    word = how.format(name=site.world.full("pod"), path=path)
    told = json.loads(site.run("attach", word, "--json", "--ifname", "net7"))
    assert told["netns"] == path
    assert told["containerId"].startswith("by-hand-nct-")
    assert site.links(path) == {"lo", "net7"}
    site.run("detach", path)
    assert site.is_clean


def test_a_process_in_a_named_namespace_is_attached_by_the_name(site: Site) -> None:
    path = site.world.add("pod")
    command = ["nsenter", f"--net={path}", "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)
            told = json.loads(site.run("attach", f"pid:{child.pid}", "--json"))
        finally:
            child.kill()
    assert told["netns"] == path
    site.run("detach", path)
    assert site.is_clean


def test_a_link_to_a_process_as_people_make_them_is_the_process(
    site: Site, container: Container, tmp_path: Path
) -> None:
    link = tmp_path / "web"
    link.symlink_to(netns(container))
    told = json.loads(site.run("attach", str(link), "--json"))
    assert told["netns"] == netns(container)
    link.unlink()
    site.run("detach", str(container.pid))
    assert site.is_clean


def test_several_interfaces_are_told_apart(site: Site) -> None:
    path = site.world.add("pod")
    site.run("attach", path)
    site.run("attach", path, "--ifname", "net1")
    said = site.refused("detach", path)
    assert "is attached 2 times" in said
    assert "--ifname net1" in said
    site.run("detach", path, "--ifname", "net1")
    assert site.links(path) == {"lo", "eth0"}
    site.run("detach", path)
    assert site.is_clean


def test_an_interface_that_is_there_is_not_touched(site: Site) -> None:
    path = site.world.add("pod")
    site.world.batch("pod", "link add eth0 type veth peer name other")
    said = site.refused("attach", path)
    assert "has an interface eth0 already" in said
    assert "such as net1" in said
    assert not site.calls
    said = site.refused("detach", path)
    assert "nothing is recorded" in said
    assert "recorded: none" in said
    assert not site.calls
    assert site.links(path) == {"lo", "eth0", "other"}


def test_attached_twice_is_told(site: Site) -> None:
    path = site.world.add("pod")
    site.run("attach", path)
    said = site.refused("attach", path)
    assert "has an interface eth0 already, attached by hand to network net" in said
    site.run("detach", path)
    assert site.is_clean


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{self}", "has the node's own network"),
        ("{node}", "has the node's own network"),
        ("/proc/self/ns/net", "is something else for each process"),
        ("/proc/thread-self/ns/net", "is something else for each process"),
        ("/dev/fd/3", "is something else for each process"),
        ("/proc/{self}/root/run/netns/x", "lasts no longer than a process"),
        ("/proc/{self}/ns/net", "has the node's own network"),
        ("/etc/passwd", "is not a network namespace"),
        ("/nowhere/at/all", "cannot open the network namespace"),
        ("no-such-thing", "there is no running container, process or namespace"),
        ("999999999", "there is no running container, process or namespace"),
        ("pid:999999999", "does not run"),
        ("pid:x", "is no pid"),
        ("docker:", "names nothing"),
        ("", "names nothing"),
        ("docker:no-such-thing", "there is no running container"),
    ],
)
def test_what_can_not_be_attached_is_told_in_words(site: Site, word: str, said: str) -> None:
    with subprocess.Popen(["nsenter", f"--net={site.world.path('node')}", "sleep", "1000"]) as own:
        try:
            given = word.format(self=own.pid, node=site.world.path("node"))
            assert said in site.refused("attach", given)
        finally:
            own.kill()
    assert not site.calls
    assert site.is_clean


def test_a_name_that_is_too_long_for_an_interface_is_refused(site: Site) -> None:
    path = site.world.add("pod")
    assert "--ifname: " in site.refused("attach", path, "--ifname", "x" * 16)
    assert not site.calls


def test_a_pid_file_of_another_process_is_not_taken_for_its_container(site: Site) -> None:
    """In a mount namespace where /run has what containerd leaves there; the pid is another's."""
    with process() as child:
        task = "/run/containerd/io.containerd.runtime.v2.task/default/task-of-then"
        folders = f"--state-dir {site.state} --bin-dir {site.folder} --conf-dir {site.folder}"
        script = (
            "mount --make-rprivate / && mount -t tmpfs none /run && "
            f"mkdir -p {task} && echo {child.pid} > {task}/init.pid && "
            f"exec {TOOL} attach task-of-then {folders}"
        )
        node = site.world.path("node")
        done = subprocess.run(
            ["nsenter", f"--net={node}", "unshare", "-m", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert "the containerd container task-of-then does not run" in done.stderr
    assert not site.calls

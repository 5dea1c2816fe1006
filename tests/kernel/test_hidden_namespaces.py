"""Pods whose namespaces have no name that we see: `gc` must not take them for gone.

A runtime may keep the names in a mount namespace of its own (CRI-O's, where the kubelet and it are
hidden from the node's other processes), and a sandbox may have no process.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from neutron_cni.cli import links
from neutron_cni.cli.links import linked
from neutron_cni.ipam import node
from neutron_cni.ipam.audit.compare import unused
from neutron_cni.store import Record, State, Wish
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.ipam_config import IpamConfig
from tests.kernel.pods import Pod, make_pod
from tests.kernel.world import World, inside, inside_child

ADDRESS = ip_address("10.77.0.1") + os.getpid() % 65000
"""Pods of other processes do not have it; all of the machine's names are looked at."""
OWN = (f"{ADDRESS}/16",)


HIDE = """
mount -t tmpfs hidden "$1" && touch "$1/a name" && mount --bind "$0" "$1/a name" && echo ready
read end
"""


@contextmanager
def hidden(world: World, name: str, folder: Path) -> Iterator[int]:
    """The namespace has a name in the mounts of one process only; that process' id."""
    script = ["sh", "-c", HIDE, world.path(name), str(folder)]
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", *script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        world.remove(name)
        yield process.pid


def wait_for(condition: Callable[[], bool]) -> None:
    """A namespace ends a while after its last name."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def record(pod: Pod) -> Record:
    """The pod's lease, an hour old."""
    return Record(
        network="net1",
        attachment=pod.attachment,
        token=pod.attachment.token("net1"),
        nonce="n",
        pod=PodRef(),
        config=IpamConfig(type="cni-ipam-neutron"),
        anchor="a",
        state=State.HELD,
        wish=Wish(),
        owner="",
        netns_inode=Path(pod.netns).stat().st_ino,
    )


def test_a_name_in_another_processes_mounts_leads_to_the_pod(world: World, tmp_path: Path) -> None:
    pod = make_pod(world, "pod1", OWN)
    pod.apply()
    assert node.namespace_with(ADDRESS) == pod.netns
    with hidden(world, "pod1", tmp_path) as pid:
        assert not Path(pod.netns).exists()
        assert node.namespace_with(ADDRESS) == f"/proc/{pid}/root{tmp_path}/a name"
    wait_for(lambda: node.namespace_with(ADDRESS) == "")


def test_the_mounts_of_another_nodes_processes_are_not_this_nodes(
    world: World, tmp_path: Path
) -> None:
    """Nodes of a lab share the machine's processes."""

    def nobody_has_it() -> None:
        assert node.namespace_with(ADDRESS) == ""

    make_pod(world, "pod1", OWN).apply()
    with hidden(world, "pod1", tmp_path):
        inside_child(world.path("router"), nobody_has_it)


def test_a_pod_lives_as_long_as_the_nodes_end_of_its_link(world: World, tmp_path: Path) -> None:
    """Whatever is to be seen of its namespace."""
    pod = make_pod(world, "pod1", OWN)
    pod.apply()
    lease, where = record(pod), world.path("node")

    def idle() -> list[int]:
        return [item.record_id for item in unused([lease], lambda address: "", linked)]

    with hidden(world, "pod1", tmp_path):
        assert inside(where, idle) == []
        assert inside(where, linked) == {lease.token}
    wait_for(lambda: inside(where, idle) == [0])
    assert inside(where, linked) == frozenset()


def test_links_of_other_programs_are_nobodys(world: World) -> None:
    world.do("node", "ip", "link", "add", "v0", "alias", "neutron-cni what", "type", "veth")
    assert inside(world.path("node"), linked) == frozenset()
    other = Attachment("c1", "eth0")
    world.do("node", "ip", "link", "set", "v0", "alias", "neutron-cni net1 c1 eth0")
    assert inside(world.path("node"), linked) == {other.token("net1")}


def test_to_free_a_sandbox_removes_its_link_and_no_others(world: World) -> None:
    doomed, stays = make_pod(world, "pod1", OWN), make_pod(world, "pod2", ("10.10.10.20/24",))
    doomed.apply()
    stays.apply()
    before, token = world.snapshot("pod2"), doomed.attachment.token("net1")
    inside(world.path("node"), lambda: links.remove(token))
    assert inside(world.path("node"), links.linked) == {stays.attachment.token("net1")}
    assert [link["ifname"] for link in world.ip("pod1", "link", "show")] == ["lo"]
    assert world.snapshot("pod2") == before
    assert not [line for line in world.text("node", "route", "show") if str(ADDRESS) in line]
    assert node.namespace_with(ADDRESS) == ""


def test_a_namespace_is_occupied_while_a_process_is_in_it(world: World) -> None:
    inode = Path(world.add("pod1")).stat().st_ino
    assert inode not in node.occupied()
    enter = ["ip", "netns", "exec", world.full("pod1"), "sh", "-c", "echo ready; read end"]
    with subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert inode in node.occupied()

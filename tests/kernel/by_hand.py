"""A node where an operator attaches containers: for the tests of `neutron-cni attach`.

A process in a namespace of its own stands for a container, and a small plugin of the tests' makes a
veth with addresses that files in a folder stand for: what is left in it has leaked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernel.world import World

TOOL = str(Path(sys.executable).with_name("neutron-cni"))
Container = subprocess.Popen[bytes]
SECONDS = 60.0
"""The most that anything here may take; nothing does."""

PLUGIN = """#!/bin/sh
# Makes a veth; its address is the file ID.IFNAME in the folder `leases`, as long as it is there.
set -e
cd {folder}
echo "$CNI_COMMAND $CNI_IFNAME $CNI_NETNS" >> calls
lease="leases/$CNI_CONTAINERID.$CNI_IFNAME"
host="h$(echo "$lease" | cksum | cut -d' ' -f1)"
in="nsenter --net=$CNI_NETNS ip"
case "$CNI_COMMAND" in
ADD)
    [ ! -e "$lease" ] || {{ echo '{{"code": 103, "msg": "it has an address"}}'; exit 1; }}
    touch "$lease"
    ip link add "$host" type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
    ip link set "$host" up
    $in addr add 10.77.0.5/24 dev "$CNI_IFNAME"
    $in link set "$CNI_IFNAME" up
    ip route append 10.77.0.5/32 dev "$host"
    mac=$($in -o link show dev "$CNI_IFNAME" | sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/')
    echo '{{"cniVersion": "1.0.0", "interfaces": [{{"name": "'$CNI_IFNAME'",'
    echo '"mac": "'$mac'", "sandbox":'
    echo '"'$CNI_NETNS'"}}], "ips": [{{"address": "10.77.0.5/24", "interface": 0}}]}}'
    ;;
DEL)
    [ -z "$CNI_NETNS" ] || $in link del "$CNI_IFNAME" 2>/dev/null || true
    rm -f "$lease"
    ;;
esac
"""


class Site:
    """A node (a namespace), with a folder of networks, one of plugins, and one of records."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.state = folder / "state"
        (folder / "leases").mkdir()
        self.state.mkdir(mode=0o700)
        self.plugin("veth", PLUGIN.format(folder=folder))
        self.network("net", "veth")

    def plugin(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(script)
        path.chmod(0o755)

    def network(self, name: str, *types: str) -> None:
        objects = [{"type": item} for item in types]
        document = {"cniVersion": "1.0.0", "name": name, "plugins": objects}
        (self.folder / f"{name}.conflist").write_text(json.dumps(document))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The tool on the node."""
        folders = ["--state-dir", str(self.state), "--bin-dir", str(self.folder)]
        command = [TOOL, *words, *folders, "--conf-dir", str(self.folder)]
        inside = ["nsenter", f"--net={self.world.path('node')}"]
        pipe = subprocess.PIPE
        return subprocess.Popen([*inside, *command], stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> str:
        """What the tool prints; it must succeed."""
        with self.start(*words) as process:
            out, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        return out

    def refused(self, *words: str) -> str:
        """What the tool says when it must fail."""
        with self.start(*words) as process:
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        return said

    @property
    def leases(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "leases").iterdir())

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.state.glob("by-hand/*.json")]

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def links(self, netns: str) -> set[str]:
        done = subprocess.run(
            ["nsenter", f"--net={netns}", "ip", "-j", "link"],
            capture_output=True,
            check=True,
            text=True,
        )
        return {link["ifname"] for link in json.loads(done.stdout)}

    @property
    def node_links(self) -> set[str]:
        return self.links(self.world.path("node"))

    @property
    def is_clean(self) -> bool:
        """Whether nothing of any attachment is left; the kernel ends namespaces by and by."""
        end = time.monotonic() + SECONDS
        while self.node_links != {"lo"} and time.monotonic() < end:
            time.sleep(0.01)
        return not (self.leases or self.records) and self.node_links == {"lo"}


@contextmanager
def process(*words: str, own: bool = True) -> Iterator[Container]:
    """A process in a network namespace of its `own`, or in that of the command `words`."""
    command = [*words, *(["unshare", "-n"] if own else []), "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.read(1)  # Now it is in its namespace.
            yield child
        finally:
            child.kill()


def netns(child: Container) -> str:
    return f"/proc/{child.pid}/ns/net"

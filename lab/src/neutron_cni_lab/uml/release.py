"""``release.py UNIT``: in the VM, sets the NIC of this unit down, wherever it is.

Nothing is done when no network namespace has the NIC. Devices are known by what they stand on, as
their names and MACs may have been changed, and namespaces by what keeps them: a process, one of its
open files, or a mount.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Look in the VM's own namespace first, where it mostly is."""
    unit = f"uml-vector.{int(sys.argv[1])}"
    seen: set[int] = set()
    for path in namespaces():
        try:
            inode = path.stat().st_ino
            if inode not in seen:
                seen.add(inode)
                enter = ["nsenter", f"--net={path}"]
                for link in json.loads(output(*enter, "ip", "-d", "-j", "link")):
                    if link.get("parentdev") == unit:
                        output(*enter, "ip", "link", "set", link["ifname"], "down")
                        return
        except (OSError, subprocess.CalledProcessError):
            continue  # it is gone by now


def namespaces() -> Iterator[Path]:
    """Paths of all network namespaces there are, most of them more than once."""
    yield Path("/proc/self/ns/net")
    yield from Path("/run/netns").glob("*")
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    for process in processes:
        yield process / "ns" / "net"
    for process in processes:
        with suppress(OSError):
            for line in (process / "mountinfo").read_text(errors="surrogateescape").splitlines():
                fields = line.split()
                if fields[3].startswith("net:["):
                    yield process / "root" / fields[4].lstrip("/")
        with suppress(OSError):
            for file in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(file).startswith("net:["):  # noqa: PTH115 - no path of a file
                        yield file


def output(*command: str) -> str:
    """What the command says; CalledProcessError if it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


main()

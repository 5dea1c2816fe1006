"""What IPAM needs to know of its own node: the NIC, and who has an address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from neutron_cni.netlink import observe
from neutron_cni.netlink.facts import Uplink
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

NAMED = (Path("/run/netns"), Path("/run/docker/netns"))
"""Where runtimes and `ip netns` keep the files of network namespaces."""


def name(config: IpamConfig) -> str:
    """What this node is called in Neutron's tags: `node` of the configuration, or the host name."""
    return config.node or os.uname().nodename


def uplink(host_interface: str | None) -> Uplink:
    """The NIC named, or that of the default route. Raises CniError when there is none."""
    found = observe.find_uplink(host_interface)
    if found is None:
        raise CniError(
            Code.PORT_NOT_FOUND,
            "this node has no default route, so its NIC can't be told",
            "set `hostInterface` or `portId` in the ipam section",
        )
    return found


def namespace_with(address: IPAddress) -> str:
    """The path of the namespace on this node that has the address, empty when none has.

    Namespaces with a name in NAMED, with a process in them, or with a name in the mounts of a
    process that has the node's network: a runtime may have removed the name and left the
    container, or keep its names in a mount namespace of its own.
    """
    seen = {_inode("/proc/self/ns/net")}
    for path in _paths():
        inode = _inode(path)
        if inode in seen:
            continue
        try:
            links = observe.pod_addresses(path)
        except CniError:
            # Its process has just ended; another may lead into the same namespace.
            continue
        seen.add(inode)
        if any(item.ip == address for addresses in links.values() for item in addresses):
            return path
    return ""


def occupied() -> frozenset[int]:
    """Inodes of the network namespaces that a process is in."""
    return frozenset(_inode(f"{process}/ns/net") for process in _processes())


def network_of_first_process() -> int:
    """The inode of process 1's network namespace, 0 where it can't be read."""
    return _inode("/proc/1/ns/net")


def mount_namespaces() -> dict[int, Path]:
    """Inodes of the mount namespaces of processes in our network namespace, and one of each.

    Runtimes have the node's network. Who has another one, such as another node that is played on
    this machine, keeps nothing there that would be this node's.
    """
    found: dict[int, Path] = {}
    ours = _inode("/proc/self/ns/net")
    for process in _processes():
        if _inode(f"{process}/ns/net") == ours:
            found.setdefault(_inode(f"{process}/ns/mnt"), process)
    return {inode: process for inode, process in found.items() if inode}


def _paths() -> Iterator[str]:
    for folder in NAMED:
        if folder.is_dir():
            yield from (str(path) for path in sorted(folder.iterdir()))
    yield from (f"{process}/ns/net" for process in _processes())
    for process in mount_namespaces().values():
        yield from (f"{process}/root{point}" for point in _mounted(process))


def _mounted(process: Path) -> Iterator[str]:
    """Where the mounts of a process have network namespaces (proc(5), /proc/PID/mountinfo)."""
    try:
        lines = (process / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, _, root, point, *_ = line.split(" ")
        if root.startswith("net:["):
            yield re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def _inode(path: str) -> int:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0

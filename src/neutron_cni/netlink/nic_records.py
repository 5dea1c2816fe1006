"""What the node remembers of NICs that are in pods: a small file each, below /run.

The alias of a NIC says whose it is, and goes with it; but root of a pod may write what it likes
there. So all that is done on the node when a NIC comes back (its name, MTU, addresses) is said by
the node's own file, and without a file only hardware comes back: a pod can't make any.

A file is written before its NIC is moved, and removed after the NIC has everything again. One that
was not found is late: the kernel may be at work on its namespace, and its file is kept for a while
under another name. /run is empty after a reboot, and then all NICs are on the node. Whoever is
called in another network namespace (another node that is played on this machine) sees files of its
own.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import msgspec

from neutron_cni import files
from neutron_cni.netlink.namespace import own_identity
from neutron_cni.netlink.nics import Memory
from neutron_cni.values.errors import CniError, Code

FOLDER = Path("/run/neutron-cni/nics")
LATE_SECONDS = 600.0
"""How long a NIC that was not found is looked for. The kernel takes a namespace apart within
seconds, unless a process is in it."""
_LATE = ".late.json"


@dataclass(frozen=True, slots=True)
class NicRecord:
    """`owner`: the alias of the NIC. `netns`: the path of the namespace that it was moved to."""

    owner: str
    netns: str
    memory: Memory


def write(record: NicRecord) -> None:
    """Remember a NIC; a file of the same owner is replaced. Raises CniError IO_FAILURE."""
    memory = record.memory
    data = msgspec.json.encode(
        {
            "owner": record.owner,
            "netns": record.netns,
            "name": memory.name,
            "mac": memory.mac,
            "mtu": memory.mtu,
            "up": memory.up,
            "kind": memory.kind,
            "pci": memory.pci,
            "addresses": [str(item) for item in memory.addresses],
            "device": memory.device,
            "permanent": memory.permanent,
        }
    )
    path = _path(record.owner)
    new = path.with_suffix(f".{os.getpid()}")
    try:
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.require_private_folder(str(FOLDER))
        with open(files.open_own(str(new), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(data)
        new.replace(path)
        _late(path).unlink(missing_ok=True)
    except OSError as error:
        raise _failure("remember the NIC", error) from error


def read(owner: str) -> NicRecord | None:
    """What is remembered of the NIC of `owner`; None if nothing. Raises CniError IO_FAILURE."""
    path = _path(owner)
    return _read(path) or _read(_late(path))


def list_all() -> list[NicRecord]:
    """What is remembered of this node's NICs. Raises CniError IO_FAILURE."""
    return _list("*.json")


def list_late() -> list[NicRecord]:
    """Those of them whose NIC was not found. Raises CniError IO_FAILURE."""
    return _list(f"*{_LATE}")


def keep(owner: str) -> bool:
    """Remember a NIC further that was not found; whether it is still to be looked for.

    Raises CniError IO_FAILURE.
    """
    path = _path(owner)
    try:
        # A file that is gone stays so: another process has seen to the NIC meanwhile.
        with suppress(FileNotFoundError):
            os.utime(path)
            path.rename(_late(path))
        return time.time() - _late(path).stat().st_mtime <= LATE_SECONDS
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _failure("remember a NIC that is late", error) from error


def forget(owner: str) -> None:
    """Remove the file; one that is gone is fine. Raises CniError IO_FAILURE."""
    path = _path(owner)
    try:
        path.unlink(missing_ok=True)
        _late(path).unlink(missing_ok=True)
    except OSError as error:
        raise _failure("forget a NIC that is back", error) from error


def _list(pattern: str) -> list[NicRecord]:
    try:
        found = sorted(FOLDER.glob(f"{own_identity().inode}-{pattern}"))
    except OSError as error:
        raise _failure("look which NICs are in pods", error) from error
    return [record for path in found if (record := _read(path)) is not None]


def _read(path: Path) -> NicRecord | None:
    try:
        files.require_private_folder(str(FOLDER))
        data = files.read(str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure("look what is remembered of a NIC", error) from error
    try:
        return _record(msgspec.json.decode(data))
    except (KeyError, TypeError, ValueError, msgspec.DecodeError):
        return None


def _record(found: dict[str, Any]) -> NicRecord:
    memory = Memory(
        name=str(found["name"]),
        mac=str(found["mac"]),
        mtu=int(found["mtu"]),
        up=bool(found["up"]),
        kind=str(found["kind"]),
        pci=str(found["pci"]),
        addresses=tuple(map(ip_interface, found["addresses"])),
        device=str(found["device"]),
        permanent=str(found["permanent"]),
    )
    return NicRecord(str(found["owner"]), str(found["netns"]), memory)


def _path(owner: str) -> Path:
    digest = sha256(owner.encode()).hexdigest()[:32]
    return FOLDER / f"{own_identity().inode}-{digest}.json"


def _late(path: Path) -> Path:
    return path.with_suffix(_LATE)


def _failure(doing: str, error: OSError) -> CniError:
    return CniError(
        Code.IO_FAILURE,
        f"cannot {doing}: {error.filename or FOLDER}: {error.strerror}",
        f"{FOLDER} must be a folder that only this user can write",
    )

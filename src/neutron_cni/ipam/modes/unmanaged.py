"""Which NICs the node's own network managers are to leave alone: an empty file for each MAC.

Nova attaches a pod's NIC to the node, and whatever configures every new NIC of a machine would give
it the pod's address. So the file is there before Nova is asked, and until the NIC has gone. The
rule that `neutron-cni install` has given to udev looks for it whenever a NIC comes, from Nova or
home from a pod, and says that the NIC is ours (`cli/device_rules.py`).

The files are on the disk, not below /run: a VM that boots has its pods' NICs again, before anything
of ours runs. A file too many does nothing, as nobody has its MAC; one that is missing leaves things
as they are without the rule. So no call fails because of them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from neutron_cni import files

FOLDER = "unmanaged"
"""In the state folder; the folder of the store."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
"""As sysfs writes it, and so udev; and nothing that leads out of the folder."""


def announce(state_dir: str, mac: str) -> None:
    """Have the NIC with this MAC left alone from now on, if the folder is ours alone."""
    path = _path(state_dir, mac)
    if not path:
        return
    with suppress(OSError):
        folder = os.path.dirname(path)  # noqa: PTH120 - pathlib takes 9 ms to import
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # noqa: PTH102
        files.require_private_folder(folder)
        files.make(path)


def withdraw(state_dir: str, mac: str) -> None:
    """The NIC with this MAC is no more, or is nobody's."""
    path = _path(state_dir, mac)
    if path:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108


def _path(state_dir: str, mac: str) -> str:
    """The file's; empty for what is no Ethernet address."""
    name = mac.lower()
    return f"{state_dir}/{FOLDER}/{name}" if _MAC.fullmatch(name) else ""

#!/usr/bin/python3 -IS
"""``boot.py ARGUMENT...``: becomes the VM's kernel, with the NICs that the VM has now.

User-mode Linux reboots by executing the command it was started by once more, so it is told that
this file is that command: a VM that reboots by itself, too, has the NICs that were attached to it.
Environment: LAB_VM_PROGRAM, LAB_VM_FOLDER.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Leave out the NICs of the last boot, add those of the list."""
    folder = Path(os.environ["LAB_VM_FOLDER"])
    # A fixed part is before the device's name, and no other argument has it.
    base = [word for word in sys.argv[1:] if not (word.startswith("vec") and ",ifname=nic" in word)]
    listed = folder / "nics.arguments"
    nics = listed.read_text().splitlines() if listed.exists() else []
    os.chdir(folder)
    os.execv(os.environ["LAB_VM_PROGRAM"], [sys.argv[0], *base, *nics])


main()

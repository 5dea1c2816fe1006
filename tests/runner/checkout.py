"""What a run has of this checkout for itself: the lock, the scratch folder, and its labs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runner.parts import Refused

MEMORY = Path("/dev/shm")


def lab_prefix(root: Path) -> str:
    """What the names of all labs begin with that a run in this checkout brings up."""
    return f"t{hashlib.sha256(bytes(root)).hexdigest()[:6]}w"


@contextmanager
def only_run(file: Path) -> Iterator[int]:
    """Refused while another run has the lock; the descriptor that holds it.

    The tests' process inherits it: a run that was killed is over when its tests have ended.
    """
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another run is under way in this checkout") from None
        yield lock.fileno()


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """An empty folder, gone afterwards. In memory, as hundreds of stores are written with fsync.

    The name is always the same, so that a run which was killed leaves nothing for long.
    """
    parent = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def no_labs_left(prefix: str) -> Iterator[None]:
    """Take down the labs that a killed run of this checkout left, and at the end our own."""
    labs_down(prefix)
    try:
        yield
    finally:
        labs_down(prefix)


def labs_down(prefix: str) -> None:
    """All labs whose names begin so and go on with a number, at the same time."""
    home = Path(os.environ.get("NEUTRON_CNI_LAB_HOME") or "/var/lib/neutron-cni-lab")
    program = str(Path(sys.executable).with_name("neutron-cni"))
    ending = [
        # In a group of its own: Ctrl-C at the terminal must not end this too.
        subprocess.Popen([program, "lab", "down", "--name", folder.name], process_group=0)
        for folder in home.glob(f"{prefix}[0-9]*/")
    ]
    for process in ending:
        process.wait()

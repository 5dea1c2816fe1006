"""The lock that one anchor's changes are made under.

flock(2) on a file that is never removed: the kernel frees it when its holder dies, however it
dies, so no lock can be stale; and as the file stays, two processes can't lock two files of one
name. The files are beside the store, so whoever shares the store shares its locks.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from neutron_cni import files
from neutron_cni.ipam.anchors import lock_name
from neutron_cni.store.store import boot_id
from neutron_cni.values.errors import CniError, Code


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took a lock last, and when."""

    pid: int
    since: float
    """Seconds since the boot; Unix seconds where `boot` is empty."""
    boot: str = ""
    """The kernel's id of that boot; empty where a version wrote it that noted the clock's time."""


class FileLock:
    """An exclusive lock between processes. Not re-entrant."""

    def __init__(self, state_dir: str, name: str) -> None:
        self.path = Path(state_dir) / "locks" / f"{sha256(name.encode()).hexdigest()[:16]}.lock"
        self._descriptor = -1

    def try_acquire(self) -> bool:
        """Take it if nobody has it. Raises CniError IO_FAILURE when the file can't be made."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.require_private_folder(str(self.path.parent))
            descriptor = files.open_own(str(self.path), os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise CniError(
                Code.IO_FAILURE,
                f"lock file {self.path}: {error.strerror}",
                "`stateDir` must be a folder that root can write, and nobody else",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        # So that an operator can see who has the lock; no decision depends on it.
        with suppress(OSError):
            # The clock's time is for people: setting the clock changes it.
            boot_time = time.clock_gettime(time.CLOCK_BOOTTIME)
            name = f"{os.getpid()} {time.time()} {boot_id()} {boot_time}".encode()
            os.ftruncate(descriptor, os.pwrite(descriptor, name, 0))
        return True

    def holder(self) -> Holder | None:
        """The process that took it last; None when not known."""
        try:
            pid, clock, *more = files.read(str(self.path)).decode().split()
            if not more:
                return Holder(int(pid), float(clock))
            boot, since = more
            return Holder(int(pid), float(since), boot)
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Free the lock; does nothing where we do not have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def anchor_lock(state_dir: str, anchor: str) -> FileLock:
    """The lock of one anchor, which others may share."""
    return FileLock(state_dir, lock_name(anchor))

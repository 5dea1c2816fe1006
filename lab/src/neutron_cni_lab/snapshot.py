"""The databases of a lab without nodes, made once: another lab starts with a copy of them.

Neutron's migrations and the API calls that make the networks take ten seconds of a core, and come
to the same in each lab.
"""

import hashlib
import os
import shutil
import time
from pathlib import Path

from neutron_cni_lab.driver import Driver
from neutron_cni_lab.facts import locked
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import run

_SOURCES = ("database.py", "neutron.py", "switch.py", "topology.py")
"""The modules of the lab that say what is in MariaDB, whatever the driver."""
_NOVA_SOURCES = ("nova/tables.py",)

_UNUSED_SECONDS = 14 * 24 * 3600


class Snapshot:
    """MariaDB's folder and the driver's databases, keyed by what they were made with."""

    def __init__(
        self, places: Places, driver: Driver, neutron: Path, nova: Path | None = None
    ) -> None:
        """Of a lab with the installed `neutron`, and with `nova` where it has one."""
        self._places = places
        self._driver = driver
        made_with = [neutron.name.encode(), run(["mariadbd", "--version"]).encode()]
        made_with += [nova.name.encode()] if nova else []
        sources = (*_SOURCES, *driver.sources, *(_NOVA_SOURCES if nova else ()))
        made_with += [(Path(__file__).parent / name).read_bytes() for name in sources]
        made_with += [driver.schemas()]
        digest = hashlib.sha256(b"\0".join(made_with)).hexdigest()[:12]
        self._folder = places.cache / f"databases-{digest}"

    @property
    def exists(self) -> bool:
        """Whether it has been saved."""
        return self._folder.exists()

    def restore(self) -> None:
        """Give a lab that has no databases a copy."""
        in_use = self._places.database.exists() or any(self._driver.pids.values())
        if in_use or not self.exists:
            return
        os.utime(self._folder)
        self._places.folder.mkdir(parents=True, exist_ok=True)
        new = self._places.folder / "databases.new"
        _copy(self._folder, new)
        self._places.switch.mkdir(parents=True, exist_ok=True)
        self._driver.restore(new)
        # Last: from now on this lab counts as one that has databases.
        (new / "db").rename(self._places.database)
        new.rmdir()

    def save(self) -> None:
        """Keep a copy of this lab's; Neutron, Nova, agents and MariaDB must be down."""
        with locked(self._places.cache / "databases.lock"):
            if self.exists:
                return
            self._forget_unused()
            new = self._places.cache / "databases.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            _copy(self._places.database, new / "db")
            self._driver.back_up(new)
            # A power cut must not leave files that are there and empty.
            run(["sync", "--file-system", new])
            new.rename(self._folder)

    def _forget_unused(self) -> None:
        for folder in self._places.cache.glob("databases-*"):
            if time.time() - folder.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(folder)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    run(["cp", "--archive", "--reflink=auto", source, target])

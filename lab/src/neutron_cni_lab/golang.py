"""A Go toolchain for the time of a build: programs of the cache folder are made with it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from neutron_cni_lab.installers import install_by, make_venv

LOCK = Path(__file__).parents[2] / "requirements" / "go.lock"
"""Which toolchain."""


class Go(Protocol):
    """Runs ``go`` with `words`, to its end; `LabError` with what it said when it fails."""

    def __call__(
        self, words: Sequence[str], *, env: Mapping[str, str] = ..., cwd: Path | None = ...
    ) -> str:
        """Its stdout; `env` comes on top of what it needs, `cwd` is where a go.mod is."""


@contextmanager
def toolchain(folder: Path) -> Iterator[Go]:
    """``go`` in `folder`, with all that it downloads and keeps: a few gigabytes, gone at the end.

    It gives way to whatever else runs on the machine. It ends with this process, however that ends,
    so that another build finds the folder its own.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_venv(folder, LOCK)
    work = folder / "work"
    needed = {
        "GOPATH": str(work / "path"),
        "GOCACHE": str(work / "cache"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "CGO_ENABLED": "0",
    }
    polite = ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "19"]

    def go(
        words: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        return install_by(
            [folder / "bin" / "go", *words], {**needed, **(env or {})}, cwd, by=polite
        )

    try:
        yield go
    finally:
        shutil.rmtree(folder, ignore_errors=True)

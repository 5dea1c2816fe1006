"""Running what downloads and builds the software of the lab's cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.progress import Progress

_COMPLETE = ".complete"


def install_by(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str = "Check that this machine reaches its package registries, then run it again.",
    by: Sequence[str] = (),
) -> str:
    """Run an installer and return its stdout; it sees the user's environment, where proxies and
    certificates are set. `LabError` with what it said when it fails, which does not name the
    program `by` that starts it."""
    words = [str(word) for word in command]
    done = subprocess.run(
        [*by, *words],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = f"`{' '.join(words[:3])} ...` failed: {done.stderr.strip()[-2000:]}"
        raise LabError(said, hint)
    return done.stdout


def make_venv(folder: Path, lock: Path) -> None:
    """Make a virtual environment with what `lock` names, and nothing else."""
    uv = Path(sys.prefix) / "bin" / "uv"
    install_by([uv, "venv", "--quiet", "--python", "/usr/bin/python3", folder])
    install_by(
        [
            *(uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"),
            *("--python", folder, "--requirement", lock),
        ]
    )


def digest(*parts: bytes) -> str:
    """What a folder's name says of what is in it: twelve characters, others for other `parts`."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def is_made(folder: Path) -> bool:
    """Whether `make` has filled `folder`."""
    return (folder / _COMPLETE).exists()


def make(folder: Path, fill: Callable[[], None], progress: Progress) -> None:
    """Have `fill` make `folder` anew; it counts as made only when all of that is done."""
    with progress.step(f"install {folder.name}"):
        shutil.rmtree(folder, ignore_errors=True)
        fill()
        (folder / _COMPLETE).touch()

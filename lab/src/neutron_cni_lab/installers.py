"""Running what downloads and builds the software of the lab's cache folder."""

import os
import shutil
import subprocess
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
) -> str:
    """Run an installer and return its stdout; it sees the user's environment, where proxies and
    certificates are set. `LabError` with what it said when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
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


def is_made(folder: Path) -> bool:
    """Whether `make` has filled `folder`."""
    return (folder / _COMPLETE).exists()


def make(folder: Path, fill: Callable[[], None], progress: Progress) -> None:
    """Have `fill` make `folder` anew; it counts as made only when all of that is done."""
    with progress.step(f"install {folder.name}"):
        shutil.rmtree(folder, ignore_errors=True)
        fill()
        (folder / _COMPLETE).touch()

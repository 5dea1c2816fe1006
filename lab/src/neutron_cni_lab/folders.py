"""Removing a folder so that half of one is never taken for a whole one."""

import shutil
from pathlib import Path

from neutron_cni_lab.errors import LabError


def remove(folder: Path) -> None:
    """Remove `folder`: it is out of the way at once, and gone when this returns (`LabError`)."""
    finish_removal(folder)
    if folder.exists():
        folder.rename(_aside(folder))
        finish_removal(folder)


def finish_removal(folder: Path) -> None:
    """Remove what a `remove` of `folder` that was killed has left."""
    aside = _aside(folder)
    try:
        if aside.exists():
            shutil.rmtree(aside)
    except OSError as error:
        hint = f"`findmnt` and `ls -ld {error.filename}` may say why; then run it again."
        raise LabError(f"can't remove {aside}: {error}", hint) from error


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.removed")

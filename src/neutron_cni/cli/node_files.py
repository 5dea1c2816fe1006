"""Writes the files that a container runtime executes on a node: launchers."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import neutron_cni
from neutron_cni import files
from neutron_cni.plugins import RECIPES
from neutron_cni.values.errors import CniError, Code

_MARK = "# Written by `neutron-cni install`."
_SHEBANG_LIMIT = 127
"""The most bytes of a #! line that any kernel reads (BINPRM_BUF_SIZE was 128 until Linux 5.1)."""


def launcher_script() -> str:
    """The text of the program that a runtime executes, for the Python that this process runs in.

    -I: Python imports nothing that the caller's environment or folder names. -S: Python does not
    scan site-packages, which takes 3 ms of every call; so the script itself names the folders
    that it needs. Raises CniError IO_FAILURE if the path of Python does not fit into
    a #! line, INVALID_CONFIG if a dependency is missing.
    """
    interpreter = f"#!{sys.executable} -IS"
    if len(interpreter) > _SHEBANG_LIMIT or " " in sys.executable:
        raise CniError(
            Code.IO_FAILURE,
            f"{sys.executable} can't stand in a #! line (too long, or a space in it)",
            "install neutron-cni into an environment with a shorter path, such as /opt/neutron-cni",
        )
    package = str(Path(neutron_cni.__file__).parent.parent)
    folders = list(dict.fromkeys([package, *_library_folders()]))
    return (
        f"{interpreter}\n{_MARK}\n"
        f"import sys\n\nsys.path += {folders!r}\n\n"
        "from neutron_cni.launcher import main\n\nmain()\n"
    )


@contextmanager
def in_words(where: Path) -> Iterator[None]:
    """What the file system refuses, as CniError IO_FAILURE; `where`: what was being changed."""
    try:
        yield
    except OSError as error:
        raise CniError(
            Code.IO_FAILURE,
            f"{error.filename or where}: {error.strerror or error}",
            "is it a folder, on a disk that can be written and has room? then run this again",
        ) from error


def require_writable(folder: Path) -> None:
    """Return where files can be made in the folder, or in what it would be made in.

    It may not be there yet; nothing is left behind. Raises CniError IO_FAILURE.
    """
    there = next(path for path in (folder, *folder.parents, Path()) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        raise CniError(
            Code.IO_FAILURE,
            f"nothing can be written in {there}: {error.strerror or error}",
            f"{folder} must be a folder on a disk that can be written; nothing was changed",
        ) from error


def install_launchers(bin_dir: Path) -> Iterable[Path]:
    """Write a launcher for each plugin type; yields each path once it is in place."""
    script = launcher_script()
    bin_dir.mkdir(parents=True, exist_ok=True)
    for name in sorted(RECIPES):
        replace(bin_dir / name, script, 0o755)
        yield bin_dir / name


def remove_launchers(bin_dir: Path) -> Iterable[Path]:
    """Remove the launchers that `install_launchers` wrote, but no other file of such a name."""
    for name in sorted(RECIPES):
        path = bin_dir / name
        if path.is_file() and _MARK.encode() in files.start_of(str(path)):
            path.unlink()
            yield path


def replace(target: Path, text: str, mode: int) -> None:
    """Write, fsync, rename: a reader sees the old file or the new one, even after a crash."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _library_folders() -> list[str]:
    """The folders that the plugins import from.

    They belong to this environment, or to one that this environment was put on top of.
    """
    folders = []
    for name in ("msgspec", "openstack", "pyroute2"):
        found = find_spec(name)
        if found is None or not found.submodule_search_locations:
            raise CniError(
                Code.INVALID_CONFIG,
                f"{name} is not installed beside neutron-cni",
                "install neutron-cni with its dependencies (requirements/node.lock)",
            )
        folders.append(str(Path(found.submodule_search_locations[0]).parent))
    paths = sysconfig.get_paths()
    return list(dict.fromkeys([paths["purelib"], paths["platlib"], *folders]))

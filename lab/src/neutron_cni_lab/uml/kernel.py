"""The VMs' kernel: Debian's user-mode-linux, unpacked into the cache folder and installed nowhere.

Its package would bring a daemon and modules for the host's own folders; the VMs need neither.
"""

import hashlib
import os
import struct
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.installers import install_by, is_made, make
from neutron_cni_lab.progress import Progress

_PACKAGE = "user-mode-linux"
_XSTATE = Path(__file__).parent / "xstate.c"
_XSTATE_NAME = "xstate.so"
_NO_ECHO_NAME = "no-echo.bpf"

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE, linux/filter.h
_OUTGOING = 4  # PACKET_OUTGOING, packet(7)
_DROP, _WHOLE = 0, 0xFFFFFFFF

NO_ECHO = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (_LOAD, 0, 0, _PACKET_TYPE),
        (_JUMP_IF_EQUAL, 0, 1, _OUTGOING),
        (_RETURN, 0, 0, _DROP),
        (_RETURN, 0, 0, _WHOLE),
    )
)
"""Classic BPF for the packet socket that is a VM's NIC: without it the NIC hears what it sends.

A pod's ipvlan device would then reach its own node, and macvlan find its address taken.
"""


class Kernel:
    """The kernel in the cache, made once and kept; the folder is named after its version."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        amx = _XSTATE.read_bytes() if _has_amx() else b""
        self._recipe = hashlib.sha256(amx + NO_ECHO).hexdigest()[:12]

    @property
    def is_made(self) -> bool:
        """Whether `install` has been here."""
        return self._found() is not None

    @property
    def program(self) -> Path:
        """The kernel, as a program."""
        return self._folder / "usr" / "bin" / "linux.uml"

    @property
    def modules(self) -> Path:
        """What is /lib/modules in the VMs."""
        return self._folder / "usr" / "lib" / "uml" / "modules"

    @property
    def no_echo(self) -> Path:
        """The file with `NO_ECHO`."""
        return self._folder / _NO_ECHO_NAME

    @property
    def environment(self) -> dict[str, str]:
        """What the program needs in its environment on this processor."""
        return {"LD_PRELOAD": str(self._folder / _XSTATE_NAME)} if _has_amx() else {}

    def check(self) -> None:
        """Raise `LabError` if VMs can't be run."""
        if not _fits():
            raise LabError(
                f"there is no {_PACKAGE} for {os.uname().machine}",
                "Make the node without `uml`: it then has the host's kernel.",
            )
        if not self.is_made:
            raise LabError(
                f"{_PACKAGE} is not in {self._cache}",
                "Run scripts/setup, or `neutron-cni lab install`.",
            )

    def install(self, progress: Progress) -> None:
        """Make it, where this machine can run it and it is not there yet."""
        if self.is_made or not _fits():
            return
        with progress.step(f"fetch {_PACKAGE}"):
            package = self._fetch()
        folder = self._cache / f"{_PACKAGE}-{package.name.split('_')[1]}-{self._recipe}"
        make(folder, lambda: self._fill(folder, package), progress)
        package.unlink()

    @property
    def _folder(self) -> Path:
        found = self._found()
        if found is None:
            raise LabError(f"{_PACKAGE} is not in {self._cache}", "Run scripts/setup.")
        return found

    def _found(self) -> Path | None:
        """The newest, if a version was installed beside an earlier one."""
        folders = filter(is_made, self._cache.glob(f"{_PACKAGE}-*-{self._recipe}"))
        return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)

    def _fetch(self) -> Path:
        """Download the package, whose signed digest apt compares."""
        for old in self._cache.glob(f"{_PACKAGE}_*.deb"):
            old.unlink()
        # The user _apt, who else downloads, can't write to this folder.
        download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", _PACKAGE]
        try:
            install_by(download, cwd=self._cache)
        except LabError:  # the lists are missing, or name a version that has been replaced
            install_by(["apt-get", "-q", "update"])
            install_by(download, cwd=self._cache)
        return next(self._cache.glob(f"{_PACKAGE}_*.deb"))

    def _fill(self, folder: Path, package: Path) -> None:
        install_by(["dpkg", "-x", package, folder])
        (folder / _NO_ECHO_NAME).write_bytes(NO_ECHO)
        if _has_amx():
            compiler = ["gcc", "-O2", "-Wall", "-shared", "-fPIC"]
            hint = "scripts/setup installs what this needs, gcc with libc6-dev."
            install_by([*compiler, "-o", folder / _XSTATE_NAME, _XSTATE], hint=hint)


def _fits() -> bool:
    return os.uname().machine == "x86_64"


def _has_amx() -> bool:
    return "amx_tile" in Path("/proc/cpuinfo").read_text().split()

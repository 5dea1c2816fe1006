"""Debian's udev, systemd-networkd, NetworkManager and ifupdown, for VMs of the lab.

They are unpacked into the cache folder and installed nowhere: on this host they would look after
its own network. Nothing in a VM starts by itself, as its first process is no init system.
"""

import shutil
from pathlib import Path

from neutron_cni_lab.facts import locked
from neutron_cni_lab.installers import digest, install_by, is_made, make
from neutron_cni_lab.node import Node
from neutron_cni_lab.progress import Progress

_PACKAGES = ("dbus", "ifupdown", "network-manager", "systemd", "udev")
_APT = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
"""The user _apt, who else downloads, can't write to the cache folder."""

_COPY = """
mkdir -p /mnt/daemons
mount -t hostfs -o "ro,$1" none /mnt/daemons
tar --directory=/mnt/daemons --create --exclude=./.complete . |
    tar --directory=/ --extract --keep-directory-symlink --no-same-owner
umount /mnt/daemons
ldconfig
# The user that its package makes.
grep -q ^systemd-network: /etc/group || echo systemd-network:x:998: >>/etc/group
grep -q ^systemd-network: /etc/passwd ||
    echo systemd-network:x:998:998::/:/usr/sbin/nologin >>/etc/passwd
"""


class NetworkDaemons:
    """The programs in the cache: those that this host has not, with what they need."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._folder = cache / f"network-daemons-{digest(' '.join(_PACKAGES).encode())}"

    def install(self, progress: Progress) -> None:
        """Fetch them, if they are not there yet."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with locked(self._cache / "lock"):
            if not is_made(self._folder):
                make(self._folder, self._fill, progress)

    def put_into(self, node: Node) -> None:
        """Have them in a VM, above what it sees of its host; they stay until it is removed."""
        node.exec(["sh", "-e", "-c", _COPY, "put", self._folder])

    def _fill(self) -> None:
        packages = self._cache / "network-daemons.packages"
        shutil.rmtree(packages, ignore_errors=True)
        packages.mkdir()
        self._folder.mkdir()
        install_by([*_APT, "update"])
        wanted = ["install", "--simulate", "--no-install-recommends", *_PACKAGES]
        lines = install_by([*_APT, *wanted]).splitlines()
        names = [line.split()[1] for line in lines if line.startswith("Inst ")]
        if names:
            install_by([*_APT, "download", *names], cwd=packages)
        for package in sorted(packages.glob("*.deb")):
            install_by(["dpkg", "--extract", package, self._folder])
        shutil.rmtree(packages)

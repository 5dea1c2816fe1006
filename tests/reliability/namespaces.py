"""The kernel's part, played by files: a network namespace is a file that lists its addresses."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from neutron_cni.values.address import IPAddress


class Namespaces:
    """The namespaces of one node, in `folder`; several processes may look at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, container: str) -> str:
        """Where the container's namespace is, whether there is one or not."""
        return str(self.folder / container)

    def make(self, container: str) -> str:
        """What a runtime does before ADD."""
        Path(self.path(container)).touch()
        return self.path(container)

    def remove(self, container: str) -> None:
        """What a runtime does after DEL."""
        Path(self.path(container)).unlink(missing_ok=True)

    def with_address(self, address: IPAddress) -> str:
        """In the place of `neutron_cni.ipam.node.namespace_with`."""
        for path in sorted(self.folder.iterdir()):
            if address in addresses_of(str(path)):
                return str(path)
        return ""

    def remove_all(self) -> None:
        """What a reboot does."""
        for path in self.folder.iterdir():
            path.unlink()


def addresses_of(netns: str) -> set[IPAddress]:
    """The addresses in a namespace; of one that is not there: none."""
    try:
        return {ip_address(line) for line in Path(netns).read_text().split()}
    except OSError:
        return set()


def configure(netns: str, addresses: Iterable[IPAddress]) -> None:
    """What a main plugin does: the namespace has these addresses now. Without one: nothing."""
    path = Path(netns)
    if netns and path.exists():
        path.write_text("".join(f"{item}\n" for item in sorted(addresses, key=str)))

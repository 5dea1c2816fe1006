"""The `ipam` sections that this node's CNI configuration has for us.

The folder is shared with other plugins. A file of theirs that is broken is no reason to see nothing
of ours, so it is told of and passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni import files
from neutron_cni.cni.document import decode
from neutron_cni.cni.request import OWN_IPAM, own_ipam
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig

SUFFIXES = (".conf", ".conflist", ".json")
"""Files that libcni loads from the configuration folder."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A file of the folder (or the folder) that can't be read. `why`: the path and the reason.

    `may_be_ours`: it mentions cni-ipam-neutron, or what it says can't be told.
    """

    why: str
    may_be_ours: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """Our sections by network name, and the files that could not be read."""

    networks: dict[str, IpamConfig]
    broken: tuple[Broken, ...] = ()

    @property
    def may_lack_ours(self) -> bool:
        """Whether a network of ours may be in one of the broken files."""
        return any(item.may_be_ours for item in self.broken)


def configured(conf_dir: Path) -> Configured:
    """What the folder has for us. Never raises, and never waits for a file."""
    try:
        paths = sorted(conf_dir.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return Configured({})
    except OSError as error:
        return Configured({}, (_broken(conf_dir, error.strerror, may_be_ours=True),))
    networks: dict[str, IpamConfig] = {}
    broken = []
    for path in paths:
        if path.suffix not in SUFFIXES:
            continue
        found = _read(path)
        if isinstance(found, Broken):
            broken.append(found)
        else:
            networks.update(found)
    return Configured(networks, tuple(broken))


def _read(path: Path) -> dict[str, IpamConfig] | Broken:
    """Our sections in one file, by network name."""
    data = b""
    try:
        data = files.start_of(str(path))
        if len(data) > files.LIMIT:
            return _broken(path, f"has more than {files.LIMIT >> 10} KiB", _mentions_us(data))
        document = decode(data, "it")
        return {
            str(document.get("name", path.stem)): own_ipam(plugin, section)
            for plugin, section in _own_sections(document)
        }
    except OSError as error:
        # Only what is a file, and there, can have a network of ours.
        return _broken(path, error.strerror, may_be_ours=path.is_file())
    except CniError as error:
        return _broken(path, str(error), _mentions_us(data))


def _broken(path: Path, why: str | None, may_be_ours: bool) -> Broken:
    """A file's name may be no UTF-8, and so could not be printed as it is."""
    name = str(path).encode(errors="backslashreplace").decode()
    return Broken(f"{name}: {why}", may_be_ours)


def _mentions_us(data: bytes) -> bool:
    return OWN_IPAM.encode() in data


def _own_sections(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    plugins = document.get("plugins", [document])
    for plugin in plugins if isinstance(plugins, list) else []:
        section = plugin.get("ipam") if isinstance(plugin, dict) else None
        if isinstance(section, dict) and section.get("type") == OWN_IPAM:
            yield plugin, section

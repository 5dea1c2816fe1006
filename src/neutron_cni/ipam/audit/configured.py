"""The `ipam` sections that this node's CNI configuration has for us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neutron_cni.cni.document import decode
from neutron_cni.cni.request import OWN_IPAM, own_ipam
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

SUFFIXES = (".conf", ".conflist", ".json")
"""Files that libcni loads from the configuration folder."""


def configured(conf_dir: Path) -> dict[str, IpamConfig]:
    """Our sections by network name. Raises CniError naming the file that is wrong."""
    found: dict[str, IpamConfig] = {}
    if not conf_dir.is_dir():
        return found
    for path in sorted(conf_dir.iterdir()):
        if path.suffix not in SUFFIXES:
            continue
        try:
            document = decode(path.read_bytes(), str(path))
            for plugin in _plugins(document):
                section = plugin.get("ipam")
                if isinstance(section, dict) and section.get("type") == OWN_IPAM:
                    name = str(document.get("name", path.stem))
                    found[name] = own_ipam(plugin, section)
        except OSError as error:
            raise CniError(
                Code.IO_FAILURE, f"{path}: {error.strerror}", "check the file"
            ) from error
        except CniError as error:
            raise CniError(error.code, f"{path}: {error.message}", error.details) from error
    return found


def _plugins(document: dict[str, Any]) -> list[dict[str, Any]]:
    plugins = document.get("plugins", [document])
    return [item for item in plugins if isinstance(item, dict)] if isinstance(plugins, list) else []

"""The file of a CNI network on a node: made anew, or changed only where an operator asks for it.

An operator edits the file: quarantines, chained plugins, keys of a runtime. So of a file that is
there what the command line does not name stays as it is, in its order, and a copy stays beside it.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni import files
from neutron_cni.cli import chain, node_files
from neutron_cni.cni.document import decode
from neutron_cni.cni.environment import NAME
from neutron_cni.cni.request import OWN_IPAM, own_ipam
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.ipam.audit.configured import SUFFIXES
from neutron_cni.ipam.modes import MODES
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode

NETWORK = "neutron"
"""What a network is called if nobody says otherwise."""
COPY = "before"
"""What the ending of a former file's copy begins with: libcni loads none that ends like this."""


@dataclass(frozen=True, slots=True)
class Change:
    """A network's file as it is to be. `document` is as it was where nothing was asked for.

    `former`: what the file says now, None if there is none. `mode`: its permissions. `config`:
    the `ipam` section. `warnings`: sentences for the operator.
    """

    path: Path
    document: dict[str, Any]
    former: dict[str, Any] | None
    mode: int
    config: IpamConfig
    warnings: list[str]

    @property
    def state_dir(self) -> Path:
        """Where the store is to be."""
        return Path(self.config.state_dir)


def plan(
    target: Path,
    network: str | None,
    options: Mapping[str, object],
    plugins: chain.Wanted,
) -> Change:
    """What is to be written for these `options` of the `ipam` section, and for what is asked for
    in the objects of the `plugins`; writes nothing.

    None: not asked for. Empty: the key goes. Raises CniError where the file is not ours to change,
    and where the network would be wrong.
    """
    # A link stays one, as a tool that distributes files made it. (Path.resolve dies of a loop.)
    path = Path(os.path.realpath(target))
    former, mode = None, 0o644
    if os.path.lexists(path):
        former, mode = _read(path)
    # A copy by way of JSON: what is changed below must not change `former`.
    document = json.loads(json.dumps(former)) if former is not None else _new()
    plugin = _own_plugin(document, path)
    section = plugin["ipam"]
    if network is not None:
        document["name"] = network
    chain.set_keys(section, options)
    if not NAME.fullmatch(str(document.get("name", ""))):
        raise CniError(Code.INVALID_CONFIG, f"{document.get('name')!r} is not a network name")
    config = own_ipam(plugin, section)
    if MODES[config.mode].needs_network and not config.network:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mode {config.mode} needs to know the Neutron network",
            "name it with --neutron-network",
        )
    warnings = chain.change(_plugins(document), plugin, plugins)
    if former is None:
        plugin["ipam"] = plugin.pop("ipam")  # In a new file it comes last.
    return Change(path, document, former, mode, config, warnings)


def write(change: Change) -> Path | None:
    """Write it, whole or not at all; returns where a copy of the former file is, None if nowhere.

    Where nothing changes the file is left alone.
    """
    # The plugins of a burst find each other in this folder, also before there is a store.
    change.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if change.former == change.document:
        return None
    path, copy = change.path, None
    path.parent.mkdir(parents=True, exist_ok=True)
    if change.former is not None:
        copy = _copy_name(path)
        copy.hardlink_to(path)  # The other name of the former file, once this one is replaced.
    text = json.dumps(change.document, indent=2, ensure_ascii=False) + "\n"
    node_files.replace(path, text, change.mode)
    return copy


def before(target: Path) -> Path | None:
    """The file of the folder that comes first by its name; None if that is the target.

    Runtimes take the first one.
    """
    loaded = (path for path in target.parent.iterdir() if path.suffix in SUFFIXES)
    first = min(loaded, key=lambda path: os.fsencode(path.name), default=target)
    return first if first.name != target.name else None


def _new() -> dict[str, Any]:
    return {
        # Runtimes before CNI 1.1 read `cniVersion` only, and refuse a version that they do not
        # know; later runtimes take the highest version of both keys (SPEC, section 1: "Version
        # considerations").
        "cniVersion": "1.0.0",
        "cniVersions": list(SUPPORTED),
        "name": NETWORK,
        "plugins": [
            {"type": chain.DEFAULT, "ipam": {"type": OWN_IPAM, "mode": Mode.FIXED_IPS.value}}
        ],
    }


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """What the file says, and its permissions. Raises CniError."""
    try:
        document = decode(files.read(str(path)), str(path))
        return document, stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"{path}: {error.strerror}", _ASIDE) from error
    except CniError as error:
        raise CniError(error.code, error.message, f"{error.details}; {_ASIDE}") from error


_ASIDE = "mend it or move it away; nothing was written"


def _own_plugin(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The first object of the document, or the document itself, whose IPAM is ours."""
    for plugin in _plugins(document):
        section = plugin.get("ipam") if isinstance(plugin, dict) else None
        if isinstance(section, dict) and section.get("type") == OWN_IPAM:
            found: dict[str, Any] = plugin
            return found
    raise CniError(
        Code.INVALID_CONFIG,
        f"{path} is a network without {OWN_IPAM}, so it is not ours to change",
        "give another name with --conf-name; nothing was written",
    )


def _plugins(document: dict[str, Any]) -> list[Any]:
    """The objects of the chain, as the file has them."""
    plugins = document.get("plugins", [document])
    return plugins if isinstance(plugins, list) else []


def _copy_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    names = (path.with_name(f"{path.name}.{COPY}-{stamp}{more}") for more in ("", *range(1, 1000)))
    return next(name for name in names if not os.path.lexists(name))

"""Finds the network that an operator names, as libcni reads a configuration folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni import files
from neutron_cni.cni.document import decode
from neutron_cni.cni.runtime import Network, further_plugins, read_network
from neutron_cni.ipam.audit.configured import SUFFIXES
from neutron_cni.values.errors import CniError, Code

_LIST = ".conflist"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A network, and sentences about files of the folder that were passed over."""

    network: Network
    warnings: tuple[str, ...] = ()


def choose(folder: Path, name: str | None) -> Chosen:
    """The network called `name`, or the first one of the folder, by the names of the files.

    By name, lists of plugins come before files of one plugin. Raises CniError INVALID_CONFIG.
    """
    networks: list[tuple[str, Network]] = []
    broken: list[str] = []
    for path in _paths(folder):
        try:
            networks.append((path.suffix, read(path)))
        except CniError as error:
            broken.append(str(error))
    if name is not None:
        networks = [item for item in networks if item[1].name == name]
        networks.sort(key=lambda item: item[0] != _LIST)
    if networks:
        return Chosen(networks[0][1], tuple(f"passed over: {why}" for why in broken))
    what = f"no network {name!r}" if name is not None else "no network"
    also = f"; and {'; '.join(broken)}" if broken else ""
    raise CniError(
        Code.INVALID_CONFIG,
        f"{folder} has {what}{also}",
        "--conf-dir names another folder, --config a file; nothing was changed",
    )


def read(path: Path) -> Network:
    """The network of one file, with the plugins of the folder beside it that is called as it is.

    Raises CniError INVALID_CONFIG and DECODING_FAILURE, naming the file.
    """
    document = _document(path)
    with _naming(path):
        folder = further_plugins(document) if path.suffix == _LIST else ""
    more = _more(path.parent / folder) if folder else []
    with _naming(path):
        return read_network(document, more)


def _more(folder: Path) -> list[dict[str, Any]]:
    """The plugin objects of a network's folder (CNI SPEC 1.1: `loadOnlyInlinedPlugins`)."""
    return [_document(path) for path in _paths(folder) if path.suffix == ".conf"]


def _paths(folder: Path) -> list[Path]:
    """The files that libcni loads, in the order of their names."""
    try:
        found = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CniError(Code.IO_FAILURE, f"{folder}: {error.strerror}") from error
    return sorted((path for path in found if path.is_file()), key=lambda x: os.fsencode(x.name))


def _document(path: Path) -> dict[str, Any]:
    with _naming(path):
        try:
            return decode(files.read(str(path)), "it")
        except OSError as error:
            raise CniError(Code.IO_FAILURE, f"{error.strerror}") from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of what is done here name the file."""
    try:
        yield
    except CniError as error:
        raise CniError(error.code, f"{path}: {error.message}", error.details) from None

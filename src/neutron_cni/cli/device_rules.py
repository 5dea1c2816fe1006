"""The files by which a node's network managers leave pods' NICs alone.

One rule for udev: where a file is named by a NIC's MAC (`ipam/modes/unmanaged.py`), udev says that
the NIC is ours. NetworkManager goes by NM_UNMANAGED. systemd-networkd goes by ID_NET_MANAGED_BY
(reliably from version 258 on), and by the `.network` file that matches this very property; its name
comes first, as the first that matches counts. And none of the programs is run that other rules have
for new NICs (ifupdown's, cloud-init's).

What is static is written once, by `install`; what changes with each pod is the file alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from neutron_cni import files
from neutron_cni.cli import node_files
from neutron_cni.ipam.modes.unmanaged import FOLDER

ETC = Path("/etc")
RULES = Path("udev/rules.d/05-neutron-cni.rules")
NETWORK = Path("systemd/network/00-neutron-cni.network")

_MARK = "# Written by `neutron-cni install`"
_PLAIN = re.compile(r"/[A-Za-z0-9/._+@-]*")
"""What means nothing else in a rule."""

_NETWORK_TEXT = f"""\
{_MARK}: systemd-networkd leaves pods' NICs alone.
# udev sets the property ({RULES.name}). Takes effect by `networkctl reload`.
[Match]
Property=ID_NET_MANAGED_BY=neutron-cni

[Link]
Unmanaged=yes
"""


def rule(state_dirs: Iterable[str]) -> str:
    """The text of the rule, for the stores in these folders. Pure.

    It is for every event but the last one: a NIC that comes home from a pod is added and moved
    (renamed), and udev keeps no property of an earlier event.
    """
    folders = [f"{name.rstrip('/')}/{FOLDER}" for name in sorted(set(state_dirs))]
    tests = "".join(
        f'TEST=="{name}/$attr{{address}}", GOTO="neutron_cni_nic"\n' for name in folders
    )
    return f"""\
{_MARK}: nobody on this node configures pods' NICs.
# A NIC is a pod's where a file is named by its MAC.
SUBSYSTEM!="net", GOTO="neutron_cni_end"
ACTION=="remove", GOTO="neutron_cni_end"
ATTR{{address}}!="??:??:??:??:??:??", GOTO="neutron_cni_end"
{tests}GOTO="neutron_cni_end"

LABEL="neutron_cni_nic"
ENV{{NM_UNMANAGED}}="1", ENV{{ID_NET_MANAGED_BY}}="neutron-cni"
# := instead of all programs that other rules would run.
RUN:="/bin/true"

LABEL="neutron_cni_end"
"""


def install(state_dirs: Iterable[str], warn: Callable[[str], None]) -> Iterator[Path]:
    """Write the files for those of the programs that this machine has; yields each that is new.

    Only mode `nova-interface` needs them, so what can't be written is told to `warn`.
    """
    plain = []
    for name in state_dirs:
        if _PLAIN.fullmatch(name):
            plain.append(name)
        else:
            warn(f"udev can't be told the state folder {name!r}: {_UNTOLD}")
    for folder, path, text in (
        ("udev", RULES, rule(plain)),
        ("systemd/network", NETWORK, _NETWORK_TEXT),
    ):
        target = ETC / path
        try:
            if not (ETC / folder).is_dir() or _text(target) == text:
                continue
            target.parent.mkdir(exist_ok=True)
            node_files.replace(target, text, 0o644)
            yield target
        except OSError as error:
            warn(f"{target}: {error.strerror or error}: {_UNTOLD}")


_UNTOLD = (
    "whoever configures this node's NICs takes those of pods in mode nova-interface for the "
    "node's (docs/how-to/nova-interface.md)"
)


def uninstall() -> Iterator[Path]:
    """Remove them; yields each path once it is gone. Raises OSError."""
    for path in (ETC / RULES, ETC / NETWORK):
        if (_text(path) or "").startswith(_MARK):
            path.unlink()
            yield path


def _text(path: Path) -> str | None:
    try:
        return files.read(str(path)).decode(errors="replace")
    except FileNotFoundError:
        return None

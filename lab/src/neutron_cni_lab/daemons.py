"""Open vSwitch's and OVN's daemons, each under a monitor that starts it again when it crashes.

The monitor (``--monitor``, ovs-vswitchd(8)) is a process of its own. It waits ten seconds between
two starts, ends when its daemon ends by anything but a crash, and calls itself something else than
the command it was started by; so both carry the part's name in their environment.
"""

import re
from pathlib import Path
from typing import NamedTuple

from neutron_cni_lab.processes import marked, parent

PART = "NEUTRON_CNI_LAB_PART"
"""Environment variable that tells of which part a daemon or its monitor is."""

OPTIONS = ("--detach", "--monitor", "--no-chdir", "--verbose=console:off", "--verbose=syslog:off")
"""Of every daemon. --detach returns when it is ready to serve."""

_CAME_BACK = re.compile(r"^(\S+?)(?:\.\d+)?Z\|.*\|daemon_unix\(monitor\)\|ERR\|.*, restarting$")


class ComeBacks(NamedTuple):
    """What the monitor wrote in the daemon's log."""

    times: int
    last: str
    """UTC, ``2024-05-01T10:00:00``; empty where there was none."""


def processes(folder: Path, part: str) -> set[int]:
    """The daemon of the lab in `folder` and its monitor, whichever of them lives."""
    return marked(folder, f"{PART}={part}")


def is_watched(pid: int, folder: Path, part: str) -> bool:
    """Whether the daemon `pid` has its monitor: that is its parent."""
    return parent(pid) in processes(folder, part)


def come_backs(log: Path) -> ComeBacks:
    """How often the daemon with this log was started again since the lab was made, and when."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    times = [found[1] for line in lines if (found := _CAME_BACK.match(line))]
    return ComeBacks(len(times), times[-1] if times else "")

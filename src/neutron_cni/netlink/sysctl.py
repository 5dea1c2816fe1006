"""Settings below /proc/sys/net of the calling thread's network namespace.

The kernel resolves /proc/sys/net by the namespace of the thread that opens the file. So the same
path is the node's setting and, inside `Namespace.call`, the pod's.
"""

from __future__ import annotations

from pathlib import Path

from neutron_cni.netlink.plan import Sysctl
from neutron_cni.values.errors import CniError, Code

_ROOT = Path("/proc/sys")


def read(key: str) -> str | None:
    """The value of `key` ("net/ipv4/ip_forward"), None if the kernel has no such setting."""
    try:
        return (_ROOT / key).read_text().strip()
    except FileNotFoundError:
        return None


def write(setting: Sysctl) -> None:
    """Write `setting`; raises CniError KERNEL if the kernel refuses.

    A value that is right already is not written again: writing net.ipv6.conf.X.forwarding=1
    deletes the default routes that *other* links learned from router advertisements, even
    when the value does not change (kernel: addrconf_fixup_forwarding).
    """
    try:
        current = read(setting.key)
        if current == setting.value or (current is None and not setting.required):
            return
        (_ROOT / setting.key).write_text(setting.value)
    except OSError as error:
        raise CniError(
            Code.KERNEL,
            f"cannot set {setting.key}={setting.value} of the {setting.side}: {error.strerror}",
            "the agent needs a writable /proc/sys/net (a privileged container)",
        ) from error

"""udev, and those who configure NICs that come, running in a VM as Debian has them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from subprocess import DEVNULL, STDOUT

from neutron_cni_lab import Node
from tests.openstack.state import wait_for

_LOGS = "/var/log/network-managers"
_BUS = """\
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="*"/>
    <allow send_destination="*"/> <allow receive_type="*"/>
  </policy>
</busconfig>
"""
_NETWORK_MANAGER = """\
[main]
plugins=keyfile
dhcp=internal
dns=none
auth-polkit=false
[keyfile]
unmanaged-devices=interface-name:eth0
"""
_NETWORKD = """\
[Match]
Name=vec*
[Network]
DHCP=ipv4
LinkLocalAddressing=no
[DHCPv4]
ClientIdentifier=mac
"""
_IFUPDOWN = "".join(
    f"""\
allow-hotplug vec{slot}
iface vec{slot} inet static
    address 192.0.2.{slot}/32
"""
    for slot in range(1, 7)
)
_HOOK = "/etc/network/if-pre-up.d/heard"


def start_udev(node: Node) -> None:
    """Start udev, and have it look at what is there, as at boot."""
    node.exec(["/lib/systemd/systemd-udevd", "--daemon"])
    node.exec(["udevadm", "trigger", "--action=add", "--subsystem-match=net"])
    settle(node)


def settle(node: Node) -> None:
    """Wait until udev has said all that it has to say."""
    node.exec(["udevadm", "settle", "--timeout=60"])


def properties(node: Node, device: str) -> dict[str, str]:
    """What udev says of a NIC."""
    settle(node)
    query = ["udevadm", "info", "--query=property", f"--path=/sys/class/net/{device}"]
    return _pairs(node.exec(query).stdout)


@contextmanager
def heard(node: Node) -> Iterator[list[dict[str, str]]]:
    """The properties of all events of NICs that udev has done with while the block ran; the list
    is filled when it ends."""
    events: list[dict[str, str]] = []
    log = f"{_LOGS}/monitor"
    monitor = ["udevadm", "monitor", "--udev", "--property", "--subsystem-match=net"]
    with _running(node, log, *monitor):
        wait_for(lambda: "UDEV - the event" in _read(node, log), "udevadm to listen")
        yield events
        settle(node)
    blocks = _read(node, log).split("\n\n")
    events += [pairs for block in blocks if "ACTION" in (pairs := _pairs(block))]


@contextmanager
def network_manager(node: Node) -> Iterator[None]:
    """NetworkManager, with its message bus."""
    _write(node, "/run/dbus/bus.conf", _BUS)
    _write(node, "/etc/NetworkManager/NetworkManager.conf", _NETWORK_MANAGER)
    bus = ["dbus-daemon", "--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile"]
    with ExitStack() as stack:
        stack.enter_context(_running(node, f"{_LOGS}/bus", *bus))
        there = ["test", "-S", "/run/dbus/system_bus_socket"]
        wait_for(lambda: node.exec(there, check=False).returncode == 0, "the bus")
        log = f"{_LOGS}/NetworkManager"
        stack.enter_context(_running(node, log, "NetworkManager", "--no-daemon"))
        online = ["nmcli", "general", "status"]
        wait_for(lambda: node.exec(online, check=False).returncode == 0, "NetworkManager", 60)
        yield


@contextmanager
def networkd(node: Node) -> Iterator[None]:
    """systemd-networkd, which asks for an address for every NIC of this kind."""
    _write(node, "/etc/systemd/network/50-all.network", _NETWORKD)
    owned = ["install", "-d", "-o", "systemd-network", "-g", "systemd-network"]
    state = "/run/systemd/netif"
    node.exec([*owned, state, f"{state}/links", f"{state}/leases", f"{state}/lldp"])
    log = f"{_LOGS}/networkd"
    with _running(node, log, "/lib/systemd/systemd-networkd"):
        there = ["test", "-e", f"{state}/state"]
        wait_for(lambda: node.exec(there, check=False).returncode == 0, "networkd", 60)
        yield
    node.exec(["rm", "-f", "/etc/systemd/network/50-all.network"])


@contextmanager
def ifupdown(node: Node) -> Iterator[Callable[[], list[str]]]:
    """ifupdown, which its rule of udev calls for every NIC that comes; for which it began to work
    is told by what the block is given."""
    _write(node, "/etc/network/interfaces", _IFUPDOWN)
    _write(node, _HOOK, '#!/bin/sh\necho "$IFACE" >>/run/ifupdown.test\n')
    node.exec(["chmod", "755", _HOOK])
    yield lambda: _read(node, "/run/ifupdown.test").split()
    node.exec(["rm", "/etc/network/interfaces", _HOOK, "/run/ifupdown.test"])


MANAGERS = {"NetworkManager": network_manager, "systemd-networkd": networkd}


@contextmanager
def _running(node: Node, log: str, *command: str) -> Iterator[None]:
    """A program that runs in the VM while the block does, its output in a file there."""
    script = 'mkdir -p "${1%/*}"; exec >"$1" 2>&1; shift; echo $$ >"/run/${1##*/}.test"; exec "$@"'
    name = command[0].rpartition("/")[2]
    words = ["sh", "-c", script, "run", log, *command]
    with node.popen(words, stdin=DEVNULL, stdout=DEVNULL, stderr=STDOUT) as process:
        try:
            yield
        finally:
            ending = f"kill -{int(signal.SIGTERM)} $(cat /run/{name}.test)"
            node.exec(["sh", "-c", ending], check=False)
            process.wait(60)


def _write(node: Node, path: str, text: str) -> None:
    script = 'mkdir -p "${1%/*}"; cat >"$1"'
    node.exec(["sh", "-c", script, "write", path], input=text)


def _read(node: Node, path: str) -> str:
    return node.exec(["cat", path], check=False).stdout


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value for name, _, value in lines}

"""Pods with two links: eth0, which bypasses the node, and veth0 to the node (veth-host).

eth0 leads to the namespace "fabric", which has the pods' default gateway and sends nothing on. So
what goes out by eth0 to somebody beyond the node's router is lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from ipaddress import ip_interface

from neutron_cni.netlink import nfnetlink, observe
from neutron_cni.netlink.filters import nftables
from neutron_cni.plugins import veth_host
from neutron_cni.plugins.contract import Call
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.lease import Lease, LeasedAddress
from tests.kernel.pods import Pod
from tests.kernel.world import NODE_ADDRESS, NODE_ADDRESS_6, OUTSIDE, OUTSIDE_6, World, inside, run
from tests.unavailable import possible

GATEWAY = {4: "10.20.0.1", 6: "fd00:20::1"}
CLIENT = {4: OUTSIDE, 6: OUTSIDE_6}
NODE = {4: NODE_ADDRESS, 6: NODE_ADDRESS_6}
PORT = 8080
PROTOCOLS = ("tcp", "udp")

_SERVER = """
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
port = int(sys.argv[2])
at = sys.argv[3]
tcp = socket.create_server((at, port), family=family)
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((at, port))
def serve_udp():
    while True:
        _, peer = udp.recvfrom(100)
        udp.sendto(peer[0].encode(), peer)
threading.Thread(target=serve_udp, daemon=True).start()
print("ready", flush=True)
while True:
    connection, peer = tcp.accept()
    with connection:
        connection.sendall(peer[0].encode())
"""
"""Tells each client, by TCP and UDP, from which address it comes."""

_CLIENT = """
import socket, sys, time
protocol, source, target, port, seconds = sys.argv[1:]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
end = time.monotonic() + float(seconds)
def ask():
    with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(float(seconds) if protocol == "tcp" else 0.5)
        if source:
            s.bind((source, 0))
        s.connect((target, int(port)))
        s.send(b"?")
        return s.recv(100).decode()
while time.monotonic() < end:
    try:
        print(ask(), end="")
        break
    except OSError:
        time.sleep(0.05)
"""


def address(number: int, version: int) -> str:
    """The address of a pod."""
    return f"10.20.0.{number}" if version == 4 else f"fd00:20::{number}"


def build_fabric(world: World) -> None:
    """The pods' own network, a bridge in a namespace, and the router's ways to it by the node."""
    world.add("fabric")
    for words in (
        "link set lo up",
        "link add br0 type bridge",
        f"addr add {GATEWAY[4]}/24 dev br0",
        f"addr add {GATEWAY[6]}/64 dev br0 nodad",
        "link set br0 up",
    ):
        world.text("fabric", *words.split())
    # The node's clients of a pod come by the node, as by a node port.
    world.text("router", "route", "add", "10.20.0.0/24", "via", NODE_ADDRESS)
    world.text("router", "route", "add", "fd00:20::/64", "via", NODE_ADDRESS_6)


def make_pod(world: World, name: str, number: int, host_stack: tuple[str, ...] = ()) -> Pod:
    """A namespace with an eth0, and veth-host's plan for it; the plan is not applied yet.

    `host_stack`: what the pod reaches by its node, besides services and the node itself.
    """
    netns = world.add(name)
    run(
        *("ip", "-n", world.full("fabric"), "link", "add", f"p{number}", "type", "veth"),
        *("peer", "name", "eth0", "netns", world.full(name)),
    )
    world.text("fabric", "link", "set", f"p{number}", "master", "br0", "up")
    world.do(name, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
    for words in (
        f"addr add {address(number, 4)}/24 dev eth0",
        f"addr add {address(number, 6)}/64 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {GATEWAY[4]}",
        f"route add default via {GATEWAY[6]}",
    ):
        world.text(name, *words.split())
    container = sha256(world.full(name).encode()).hexdigest()
    attachment = Attachment(container, "eth0", netns)
    lease = Lease(
        tuple(
            LeasedAddress(ip_interface(f"{address(number, v)}/{b}")) for v, b in ((4, 32), (6, 128))
        )
    )
    config = veth_host.Config(
        service_cidrs=("10.96.0.0/12", "fd96::/112"),
        host_stack_cidrs=host_stack,
        host_forwarding=not possible("IPv6 forwarding of single links"),
    )
    facts = inside(world.path("node"), lambda: observe.host_facts(own_addresses=True))
    call = Call("net1", attachment, config, lease, facts)
    return Pod(world, name, attachment, lease, veth_host.plan(call))


@contextmanager
def server(world: World, name: str, version: int, port: int = PORT, at: str = "") -> Iterator[None]:
    """A server in a namespace, by TCP and UDP; see `ask`.

    `at`: the address to listen at. Without one, UDP is answered from the address of the link.
    """
    argv = ["ip", "netns", "exec", world.full(name), sys.executable, "-I", "-S", "-c", _SERVER]
    with subprocess.Popen([*argv, str(version), str(port), at], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def ask(
    world: World,
    name: str,
    protocol: str,
    target: str,
    *,
    source: str = "",
    port: int = PORT,
    seconds: float = 30,
) -> str:
    """The client's address as the server says it; empty if no answer comes within `seconds`."""
    argv = (sys.executable, "-I", "-S", "-c", _CLIENT)
    return world.do(name, *argv, protocol, source, target, str(port), str(seconds)).removeprefix(
        "::ffff:"
    )


def in_nftables(version: int) -> dict[str, int]:
    """The number of rules in each chain of our table in the caller's namespace."""
    sock = nfnetlink.connect()
    with sock:
        family = nfnetlink.FAMILY[version]
        rules = nfnetlink.dump(sock, nfnetlink.GETRULE, family, b"")
        chains = nfnetlink.dump(sock, nfnetlink.GETCHAIN, family, b"")
    table = nftables.TABLE.encode() + b"\0"
    return {
        os.fsdecode(chain[3].rstrip(b"\0")): sum(
            1 for rule in rules if rule[1] == table and rule[2] == chain[3]
        )
        for chain in chains
        if chain[1] == table
    }


def ours(world: World, name: str, version: int) -> dict[str, int]:
    """The number of rules in each of our chains, and of the jumps to it ("-> CHAIN")."""
    found = inside(world.path(name), lambda: in_nftables(version))
    program = "iptables-legacy-save" if version == 4 else "ip6tables-legacy-save"
    for line in world.do(name, program).splitlines():
        words = line.split()
        if line.startswith(":ncni-"):
            found[words[0][1:]] = 0
        elif line.startswith("-A ncni-"):
            found[words[1]] += 1
        elif words[-1:] and words[-1].startswith("ncni-"):
            found[f"-> {words[-1]}"] = found.get(f"-> {words[-1]}", 0) + 1
    return found


def program(back_end: str, version: int = 4) -> str:
    """The program with which others make rules in the rule set of `back_end`."""
    name = "iptables" if version == 4 else "ip6tables"
    return f"{name}-nft" if back_end == "nftables" else f"{name}-legacy"

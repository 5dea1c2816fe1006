"""Pods with two links: eth0, which bypasses the node, and veth0 to the node (veth-host).

eth0 leads to the namespace "fabric", which has the pods' default gateway and sends nothing on. So
what goes out by eth0 to somebody beyond the node's router is lost.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_interface

import msgspec

from neutron_cni.netlink import observe
from neutron_cni.plugins import veth_host
from neutron_cni.plugins.contract import Call
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.lease import Lease, LeasedAddress
from tests.kernel.pods import SECOND_LEG, Pod
from tests.kernel.world import NODE_ADDRESS, NODE_ADDRESS_6, World, inside, run

GATEWAY = {4: "10.20.0.1", 6: "fd00:20::1"}


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
    config = msgspec.structs.replace(SECOND_LEG, host_stack_cidrs=host_stack)
    facts = inside(world.path("node"), lambda: observe.host_facts(own_addresses=True))
    call = Call("net1", attachment, config, lease, facts)
    return Pod(world, name, attachment, lease, veth_host.plan(call))

"""Pods whose main interfaces bypass their node, with a second one to it (veth-host)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface

from neutron_cni.netlink import observe
from neutron_cni.plugins import veth_host
from neutron_cni.plugins.contract import Call
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.lease import Lease, LeasedAddress
from tests.kernel.pods import ADDRESSES, SECOND_LEG, Pod
from tests.kernel.world import (
    ROUTER_ADDRESS,
    ROUTER_ADDRESS_6,
    World,
    inside,
    run,
)
from tests.unavailable import possible

SERVICE = {4: "10.96.0.1", 6: "fd96::1"}
POD, OTHER = (dict(zip((4, 6), ADDRESSES[name], strict=True)) for name in ("pod1", "pod2"))


@dataclass(frozen=True)
class Site:
    """The world, and which kind of link the pods' main interfaces are."""

    world: World
    kind: str

    def main_interface(self, name: str) -> None:
        """A pod's `eth0`, as a main plugin leaves it: on the node's link, default route and all."""
        world, v4, v6 = self.world, *ADDRESSES[name]
        world.add(name)
        mode = "l2" if self.kind == "ipvlan" else "bridge"
        node, pod = world.full("node"), world.full(name)
        run(
            *("ip", "-n", node, "link", "add", "link", "up0", "name", "eth0", "netns", pod),
            *("type", self.kind, "mode", mode),
        )
        world.do(name, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{v4}/24", "dev", "eth0"),
            ("addr", "add", f"{v6}/64", "dev", "eth0", "nodad"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", ROUTER_ADDRESS),
            ("route", "add", "default", "via", ROUTER_ADDRESS_6),
        ):
            run("ip", "-n", pod, *words)
        world.await_link_local(name, "eth0")

    def call(self, name: str) -> Call[veth_host.Config]:
        """What veth-host's plan for the pod is made from."""
        world, (v4, v6) = self.world, ADDRESSES[name]
        attachment = Attachment(world.full(name), "eth0", world.path(name))
        lease = Lease(tuple(LeasedAddress(ip_interface(item)) for item in (f"{v4}/24", f"{v6}/64")))
        facts = inside(world.path("node"), lambda: observe.host_facts(own_addresses=True))
        return Call("net1", attachment, SECOND_LEG, lease, facts)

    def pod(self, name: str) -> Pod:
        """A pod with both interfaces."""
        self.main_interface(name)
        call = self.call(name)
        pod = Pod(self.world, name, call.attachment, call.lease, veth_host.plan(call))
        pod.apply()
        return pod

    def translate(self, version: int, target: str, port: int, backend: str) -> None:
        """A service's rule on the node: what is for `target` goes to port 8080 of `backend`."""
        to = f"[{backend}]:8080" if version == 6 else f"{backend}:8080"
        for chain in ("PREROUTING", "OUTPUT"):
            self.nat(version, chain, "-d", target, *_TCP, str(port), "-j", "DNAT", "--to", to)

    def nat(self, version: int, chain: str, *words: str) -> None:
        """A rule in the node's table nat, by the iptables that its kernel has."""
        program = {4: "iptables", 6: "ip6tables"}[version]
        suffix = "" if possible("nftables") else "-legacy"
        self.world.do("node", f"{program}{suffix}", "-w", "-t", "nat", "-A", chain, *words)


_TCP = ("-p", "tcp", "--dport")

"""What most kernel tests start from: a pod attached by veth-route to the node of a World."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import ip_interface

from neutron_cni.netlink import apply as applier
from neutron_cni.netlink import diff as differ
from neutron_cni.netlink import observe
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import Plan, VethPair
from neutron_cni.plugins import veth_host, veth_route
from neutron_cni.plugins.contract import Call
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.lease import Lease, LeasedAddress
from tests.kernel.world import World, inside
from tests.unavailable import possible

V4 = ("10.10.10.19/24",)
V6 = ("fd00:10::19/64",)
DUAL = V4 + V6

FORWARDING = veth_route.Config(host_forwarding=not possible("IPv6 forwarding of single links"))
"""What a node's operator has to ask for so that its pods' IPv6 passes: nothing since Linux 6.17."""

ELSEWHERE = ("10.20.0.19/24", "fd00:20::19/64")
"""Addresses of Neutron's in subnets of the uplink's network in which the node has none."""
PORT = "11111111-2222-3333-4444-555555555555"

ADDRESSES = {"pod1": ("10.10.10.19", "fd00:10::19"), "pod2": ("10.10.10.20", "fd00:10::20")}
"""Of pods on the network of the node's uplink."""
SECOND_LEG = veth_host.Config(
    service_cidrs=("10.96.0.0/12", "fd96::/112"),
    host_forwarding=not possible("IPv6 forwarding of single links"),
)


@dataclass(frozen=True)
class Pod:
    """A pod's namespace and the plan for it."""

    world: World
    name: str
    attachment: Attachment
    lease: Lease
    plan: Plan

    @property
    def netns(self) -> str:
        """The path of its namespace."""
        return self.attachment.netns

    @property
    def veth(self) -> VethPair:
        """The pair in its plan."""
        (pair,) = (link for link in self.plan.links if isinstance(link, VethPair))
        return pair

    @property
    def host_link(self) -> str:
        """The node's end of its veth."""
        return self.veth.host_name

    def apply(self, plan: Plan | None = None, *, settle: bool = True) -> None:
        """Apply its plan (or another) on the node.

        `settle`: wait for the kernel's own link-local addresses, which come a little later,
        so that snapshots before and after something else can be compared.
        """
        wanted = plan or self.plan
        inside(
            self.world.path("node"), lambda: applier.apply(wanted, self.netns, Deadline.after(20))
        )
        if settle and any(item.address.version == 6 for item in wanted.neighbours):
            self.world.await_link_local("node", self.host_link)
            self.world.await_link_local(self.name, self.veth.pod_name)

    def undo(self, plan: Plan | None = None, netns: str | None = "") -> None:
        """Undo its plan (or another) on the node; `netns` as in `undo`, its own if empty."""
        wanted, where = plan or self.plan, self.netns if netns == "" else netns
        inside(self.world.path("node"), lambda: applier.undo(wanted, where))

    def diff(self, plan: Plan | None = None) -> list[str]:
        """The differences that CHECK would name."""
        wanted = plan or self.plan
        return inside(self.world.path("node"), lambda: differ.diff(wanted, self.netns))


def facts(world: World) -> HostFacts:
    """The node's facts, as observed."""
    return inside(world.path("node"), observe.host_facts)


def make_pod(
    world: World,
    name: str,
    addresses: tuple[str, ...] = V4,
    *,
    mtu: int | None = None,
    config: veth_route.Config | None = None,
    dummy: bool = False,
    link_forwarding: bool = True,
    port_id: str = "",
) -> Pod:
    """A new namespace and the plan for it; nothing is applied yet.

    `dummy`: with the gateway's address on a dummy device, as where the kernel has that. `undo`
    leaves the device to the other pods, so what compares before and after goes without.
    `link_forwarding`: False for the plan of a kernel that can't forward IPv6 for single links.
    `port_id`: the Neutron port that has the addresses; empty: they are of another IPAM.
    """
    netns = world.add(name)
    container = sha256(f"{world.full(name)}".encode()).hexdigest()
    attachment = Attachment(container, "eth0", netns)
    lease = Lease(
        addresses=tuple(LeasedAddress(ip_interface(item)) for item in addresses),
        mtu=mtu,
        port_id=port_id,
    )
    known = facts(world)
    known = replace(known, dummy=dummy, force_forwarding=link_forwarding and known.force_forwarding)
    call = Call("net1", attachment, config or veth_route.Config(), lease, known)
    plan = veth_route.plan(call)
    return Pod(world, name, attachment, lease, plan)

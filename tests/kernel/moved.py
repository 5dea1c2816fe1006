"""Pods of host-device-plus: the node's NIC `ens4`, and the plugin's calls as the engine makes them.

Ends of veths stand for NICs. They differ in one thing: when a pod's namespace dies, the kernel puts
hardware back on the node and deletes a veth; `falls_back` does to one what happens to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from typing import Any, TypeVar

import msgspec
import pytest

from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Invocation, IpamChoice, Request
from neutron_cni.engine.kernel import Kernel
from neutron_cni.netlink import links
from neutron_cni.netlink.links import Link
from neutron_cni.plugins import RECIPES
from neutron_cni.values.address import anywhere
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Result, Route
from tests.kernel.world import World, inside, run

T = TypeVar("T")

NIC = "ens4"
ADDRESSES = {"pod1": ("10.20.0.19", "fd00:20::19"), "pod2": ("10.20.0.20", "fd00:20::20")}
GATEWAYS = ("10.20.0.1", "fd00:20::1")
OWN_ADDRESS = "10.20.0.5/24"
"""Of the NIC, on the node."""
TYPE = "host-device-plus"


def add_nic(world: World, name: str = NIC, end: str = "r1") -> None:
    """A further NIC of the node, up, with an address and MTU of its own, and the router's end."""
    peer = f"peer name {end} netns {world.full('router')}"
    world.batch(
        "node",
        f"link add {name} type veth {peer}",
        f"link set {name} mtu 1450 up",
        f"addr add {OWN_ADDRESS} dev {name}",
    )
    world.batch(
        "router",
        f"addr add {GATEWAYS[0]}/24 dev {end}",
        f"addr add {GATEWAYS[1]}/64 dev {end} nodad",
        f"link set {end} up",
    )


def lease(name: str, mtu: int | None = None) -> Lease:
    """A dual-stack lease on the NIC's network."""
    gateways = [ip_address(item) for item in GATEWAYS]
    texts = [f"{address}/{bits}" for address, bits in zip(ADDRESSES[name], (24, 64), strict=True)]
    return Lease(
        tuple(LeasedAddress(ip_interface(x), y) for x, y in zip(texts, gateways, strict=True)),
        routes=tuple(Route(anywhere(gateway.version), gateway) for gateway in gateways),
        mtu=mtu,
    )


def _comparable(line: str) -> str:
    line = re.sub(r"^\d+: ", "", line)
    line = re.sub(r"<([A-Z_,-]*)>", lambda x: f"<{'UP' in x[1].split(',')}>", line)
    return re.sub(r" qdisc \w+| state \w+| linkdown", "", line)


def show_as_hardware(monkeypatch: pytest.MonkeyPatch, **told: str) -> None:
    """The ends of veths look to the plugin as hardware does: without a kind, but as a device with a
    MAC that are always the same. What is told of it is the index of a veth's other end, where
    nothing else is `told`."""
    list_all = links.list_all

    def as_device(link: Link) -> Link:
        if link.kind not in ("veth", "") or link.peer is None:
            return link
        number = link.peer
        by_number: dict[str, Any] = {
            "device": f"virtio{number}",
            "permanent": f"02:00:00:00:00:{number:02x}",
        }
        return replace(link, kind="", **(by_number | told))

    monkeypatch.setattr(links, "list_all", lambda rtnl: [as_device(x) for x in list_all(rtnl)])


@dataclass
class Node:
    """The node of a world; each call is that of a process of its own."""

    world: World
    options: dict[str, Any] = field(default_factory=lambda: {"device": NIC})
    notes: list[str] = field(default_factory=list)
    ipam: IpamChoice | None = None

    def kernel(
        self,
        command: Command,
        attachment: Attachment | None = None,
        *,
        previous: Result | None = None,
        valid: Sequence[Attachment] = (),
    ) -> Kernel:
        """The plugin's data plane for one call."""
        recipe = RECIPES[TYPE]
        request = Request(
            plugin=TYPE,
            command=command,
            version="1.1.0",
            network="net1",
            attachment=attachment or Attachment("", ""),
            configs=tuple(msgspec.convert(self.options, schema) for schema in recipe.schemas()),
            ipam=self.ipam,
            invocation=Invocation({}, b""),
            prev_result=previous,
            valid=frozenset(Attachment(item.container_id, item.ifname) for item in valid),
        )
        return Kernel(request, recipe.pages(), self.notes.append)

    def here(self, work: Callable[[], T]) -> T:
        """What `work` returns, on the node."""
        return inside(self.world.path("node"), work)

    def attachment(self, name: str, ifname: str = "eth0") -> Attachment:
        """That of a pod, whose namespace is made unless it is there."""
        if name not in self.world.names:
            self.world.add(name)
        return Attachment(self.world.full(name), ifname, self.world.path(name))

    def add(self, name: str = "pod1", mtu: int | None = None) -> Result:
        """ADD, as the engine does it. Raises CniError."""
        # Not made on the node: who is there has mounts of its own, in which nobody would find it.
        known = self.attachment(name)
        return self.here(lambda: self.add_here(known, lease(name, mtu)))

    def add_here(self, attachment: Attachment, wanted: Lease) -> Result:
        """The same for who is on the node already."""
        kernel = self.kernel(Command.ADD, attachment)
        kernel.inspect()
        return kernel.attach(wanted, Deadline.after(20))

    def delete(self, name: str = "pod1", *, netns: bool = True) -> None:
        """DEL; not `netns`: the runtime knows no namespace any more."""
        known = self.attachment(name) if netns else Attachment(self.world.full(name), "eth0")
        self.here(lambda: self.kernel(Command.DEL, known).detach(lease(name)))

    def check(self, result: Result, name: str = "pod1") -> list[str]:
        """What CHECK says."""
        known = self.attachment(name)
        kernel = self.kernel(Command.CHECK, known, previous=result)
        return self.here(lambda: kernel.differences(lease(name)))

    def collect(self, *names: str) -> None:
        """GC, where the runtime knows these pods."""
        valid = [self.attachment(name) for name in names]
        self.here(lambda: self.kernel(Command.GC, valid=valid).collect())

    def status(self) -> None:
        """STATUS. Raises CniError."""
        self.here(lambda: self.kernel(Command.STATUS).ready())

    def snapshot(self) -> dict[str, list[str]]:
        """What the node has, in comparable text.

        Left out: link-local addresses and the state of links, which the kernel sees to a little
        later, and indexes, of which the kernel gives another one where one is taken.
        """
        shown = (
            ("-d", "link", "show"),
            ("-4", "addr", "show"),
            ("-6", "addr", "show", "scope", "global"),
            ("-4", "route", "show", "table", "all"),
            ("rule", "show"),
        )
        return {
            " ".join(words): sorted(map(_comparable, self.world.text("node", *words)))
            for words in shown
        }

    def nic(self, name: str = NIC) -> dict[str, Any]:
        """A link of the node, as `ip -j addr show` has it."""
        (found,) = self.world.ip("node", "addr", "show", "dev", name)
        return dict(found)

    def falls_back(self, name: str, arrives_as: str) -> None:
        """The pod's namespace dies, and its NIC goes where the kernel puts hardware."""
        pod, home = self.world.full(name), self.world.full("node")
        run("ip", "-n", pod, "link", "set", "eth0", "down")
        if arrives_as != "eth0":
            run("ip", "-n", pod, "link", "set", "eth0", "name", arrives_as)
        run("ip", "-n", pod, "link", "set", arrives_as, "netns", home)
        self.world.remove(name)

"""An attachment and its node, as the tests of the pages of neutron-ipvlan know them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import msgspec

from neutron_cni.netlink.facts import HostFacts, PodFacts, Uplink
from neutron_cni.plugins.contract import Call
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.lease import Lease, LeasedAddress

C = TypeVar("C", bound=msgspec.Struct)

POD = Attachment("c0ffee", "eth0", "/run/netns/pod")
GATEWAY, GATEWAY6 = ip_address("10.10.10.1"), ip_address("fd00:10::1")
V4 = LeasedAddress(ip_interface("10.10.10.19/24"), GATEWAY)
V6 = LeasedAddress(ip_interface("fd00:10::19/64"), GATEWAY6)
UPLINK = Uplink(
    "ens3",
    "fa:16:3e:00:00:08",
    1500,
    addresses=(ip_interface("10.10.10.8/24"),),
    onlink=(ip_network("10.10.10.0/24"),),
)


def call_of(
    config: type[C],
    options: Mapping[str, object],
    lease: Lease,
    facts: HostFacts,
    inside: PodFacts | None,
) -> Call[C]:
    """A call for `POD`; `options`: the keys of the network configuration."""
    known = msgspec.convert(options, config)
    return Call("net1", POD, known, lease, facts, inside=inside or PodFacts())

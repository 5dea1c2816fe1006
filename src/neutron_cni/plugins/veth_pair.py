"""Which veth an attachment has: names and MACs that are known without any record. Pure."""

from __future__ import annotations

from hashlib import sha256

from neutron_cni.netlink.plan import VethPair
from neutron_cni.plugins import ownership
from neutron_cni.values.attachment import Attachment

GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""MAC of the node's end of every veth, the same as Calico's. So a pod's neighbour entry for its
gateway is the same on every node and outlives the link. The MACs can't collide, as each veth is a
wire between two ends only."""

_FIRST_METRIC = 2048
"""The least metric of a further network's routes: higher than the kernel's own defaults, so that
the routes of the pod's other links count first."""


def pair(
    network: str, attachment: Attachment, part: str, mtu: int | None, mac: str = ""
) -> VethPair:
    """The veth of the CNI network `network`, made by `part` of a plugin. `mtu` is in bytes.

    `mac`: the MAC that is asked for the pod's end, if any is.
    """
    return VethPair(
        host_name=host_link_name(attachment),
        pod_name=attachment.ifname,
        host_mac=GATEWAY_MAC,
        pod_mac=mac or pod_mac(attachment),
        alias=ownership.alias(network, attachment, part),
        mtu=mtu,
        earlier_aliases=(
            (ownership.earlier_alias(network, attachment),)
            if part == ownership.EARLIER_PART
            else ()
        ),
    )


def host_link_name(attachment: Attachment) -> str:
    """The name of the node's end, "veth" and 11 hex digits: DEL finds it without any record."""
    return f"veth{_digest(attachment).hex()[:11]}"


def pod_mac(attachment: Attachment) -> str:
    """The pod's MAC: locally administered, unicast, the same whenever the veth is made again."""
    digest = _digest(attachment)
    # Not the bytes of the digest that are in the name, so that the MAC does not give the name
    # away. Bit 1 of the first byte is "locally administered", bit 0 "multicast".
    first = digest[8] & 0xFC | 0x02
    return bytes([first, *digest[9:14]]).hex(":")


def metric_of(attachment: Attachment) -> int:
    """The metric of the attachment's routes where the pod has other networks: 2048 to 67583.

    Two attachments of one pod have the same by a chance of 1 in 65536; the second ADD is then
    refused, and a sandbox made anew has others.
    """
    return _FIRST_METRIC + int.from_bytes(_digest(attachment)[14:16])


def _digest(attachment: Attachment) -> bytes:
    return sha256(f"{attachment.container_id}/{attachment.ifname}".encode()).digest()

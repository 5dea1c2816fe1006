"""The owner of a link on the node: written into the link's alias, and read back from it."""

from __future__ import annotations

from typing import NamedTuple

from neutron_cni.netlink import nics
from neutron_cni.values.attachment import Attachment

PREFIX = nics.PREFIX
"""What the alias of every link of neutron-cni begins with (`ip link` shows aliases)."""
EARLIER_PART = "veth-route"
"""The part that made the links whose aliases name none: those of version 0.1.0."""


class Owner(NamedTuple):
    """What an alias says: the name of the CNI network, the attachment to it (without its netns),
    and the part of a plugin that made the link."""

    network: str
    attachment: Attachment
    part: str


def alias(network: str, attachment: Attachment, part: str) -> str:
    """ "neutron-cni NETWORK CONTAINER IFNAME PART"; CNI allows a space in none of these words.

    The network is there because one GC lists the attachments of one network only, the part
    because the GC of one plugin type must not remove the links of another.
    """
    return f"{earlier_alias(network, attachment)} {part}"


def earlier_alias(network: str, attachment: Attachment) -> str:
    """The alias without the part. Version 0.1.0 wrote it, when veth-route made every link."""
    return f"{PREFIX}{network or '-'} {attachment.container_id} {attachment.ifname}"


def owner(text: str) -> Owner | None:
    """The owner that the alias `text` names, None if neutron-cni did not write the alias."""
    words = text.removeprefix(PREFIX).split(" ")
    if not text.startswith(PREFIX) or len(words) not in (3, 4):
        return None
    network, container_id, ifname, *part = words
    attachment = Attachment(container_id, ifname)
    return Owner("" if network == "-" else network, attachment, part[0] if part else EARLIER_PART)

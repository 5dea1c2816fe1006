"""Whose link a link of the node is, written into its alias and read back from it."""

from __future__ import annotations

from typing import NamedTuple

from neutron_cni.values.attachment import Attachment

PREFIX = "neutron-cni "
"""What the alias of every link of ours begins with (`ip link` shows it)."""
EARLIER_PART = "veth-route"
"""The part whose links have aliases of three words, from before there were others."""


class Owner(NamedTuple):
    """A network by its CNI name, an attachment to it (without its netns), and the part of a
    plugin that made the link."""

    network: str
    attachment: Attachment
    part: str


def alias(network: str, attachment: Attachment, part: str) -> str:
    """ "neutron-cni NETWORK CONTAINER IFNAME PART"; none of them can hold a blank in CNI.

    The network is in it because GC speaks of one network's attachments at a time; the part,
    because one plugin type must not judge another's links.
    """
    return f"{earlier_alias(network, attachment)} {part}"


def earlier_alias(network: str, attachment: Attachment) -> str:
    """What version 0.1.0 wrote, when every link was veth-route's: the same without the part."""
    return f"{PREFIX}{network or '-'} {attachment.container_id} {attachment.ifname}"


def owner(text: str) -> Owner | None:
    """The owner that an alias names, None if the alias is none of ours."""
    words = text.removeprefix(PREFIX).split(" ")
    if not text.startswith(PREFIX) or len(words) not in (3, 4):
        return None
    network, container_id, ifname, *part = words
    attachment = Attachment(container_id, ifname)
    return Owner("" if network == "-" else network, attachment, part[0] if part else EARLIER_PART)

"""Whose link a link of the node is, written into its alias and read back from it."""

from __future__ import annotations

from typing import NamedTuple

from neutron_cni.values.attachment import Attachment

PREFIX = "neutron-cni "
"""What the alias of every link of ours begins with (`ip link` shows it)."""


class Owner(NamedTuple):
    """A network by its CNI name and an attachment to it (without its netns)."""

    network: str
    attachment: Attachment


def alias(network: str, attachment: Attachment) -> str:
    """ "neutron-cni NETWORK CONTAINER IFNAME"; none of the three can hold a blank in CNI.

    The network is part of it because GC speaks of one network's attachments at a time.
    """
    return f"{PREFIX}{network or '-'} {attachment.container_id} {attachment.ifname}"


def owner(text: str) -> Owner | None:
    """The owner that an alias names, None if the alias is none of ours."""
    parts = text.removeprefix(PREFIX).split(" ")
    if not text.startswith(PREFIX) or len(parts) != 3:
        return None
    network, container_id, ifname = parts
    return Owner("" if network == "-" else network, Attachment(container_id, ifname))

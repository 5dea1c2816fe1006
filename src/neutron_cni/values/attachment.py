"""What a CNI call is about: one interface of one container, and the pod that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

BY_HAND = "by-hand-"
"""What the ids begin with that `neutron-cni attach` gives: no runtime knows these attachments."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container (sandbox): what a lease and a link belong to.

    `netns` is a path, and empty where the runtime no longer has one (DEL after a crash). Two
    attachments are equal only if their `netns` are; those of GC and of link aliases have none.
    """

    container_id: str
    ifname: str
    netns: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether an operator made it, with `neutron-cni attach`."""
        return self.container_id.startswith(BY_HAND)

    def token(self, network: str) -> str:
        """Eight hex digits that stand for this attachment in Neutron tags and ports.

        `network` is the name of the CNI network. The token is short because a Neutron tag had at
        most 60 characters until 2023, and an IPv6 address takes 39 of them.
        """
        return sha256(f"{network}\0{self.container_id}\0{self.ifname}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class PodRef:
    """The pod as the runtime names it in CNI_ARGS (K8S_POD_*); all empty outside Kubernetes."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""

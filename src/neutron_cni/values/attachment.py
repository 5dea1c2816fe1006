"""Who a CNI call is about: the container, the interface, and the pod behind them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container: what a lease and a link belong to.

    `netns` is a path, and empty where the runtime no longer has one (DEL after a crash).
    """

    container_id: str
    ifname: str
    netns: str = ""

    def token(self, network: str) -> str:
        """Eight hex digits that name this attachment to `network` in Neutron tags and ports.

        Length: a Neutron tag had 60 characters until 2023, and an IPv6 address takes 39.
        """
        return sha256(f"{network}\0{self.container_id}\0{self.ifname}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class PodRef:
    """The pod as the runtime names it in CNI_ARGS (K8S_POD_*); empty outside Kubernetes."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.name else ""

"""What `netlink` asks of a kind of link; each module here answers for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Side
from neutron_cni.netlink.rtnl import Request, Rtnl

L = TypeVar("L", contravariant=True)


class LinkKind(Protocol[L]):
    """One kind of link, by functions of a module. `L` is its class in `netlink.plan`.

    Where they talk to the kernel they raise CniError KERNEL.
    """

    def create(self, wanted: L, pod: Namespace) -> Request:
        """The request that makes the link; the kernel answers EEXIST where a name is taken."""

    def made_before(self, wanted: L, host: Rtnl, pod: Rtnl, netns: str) -> bool:
        """Whether the link is there, made by an earlier `apply` of this plan.

        `netns` is the pod's path, for the sentences. Raises CniError CONFLICT where a link of
        that name is somebody else's.
        """

    def bring_up(self, wanted: L, side: Side, index: int) -> Request:
        """The request that brings the link's end on `side` up, with all its settings."""

    def to_delete(self, wanted: L, host: Rtnl) -> Link | None:
        """The link of the node whose deletion undoes `create`; None where there is none, or it is
        somebody else's, or other pods use it too."""

    def clear_pod(self, wanted: L, pod: Rtnl) -> None:
        """Remove what is left in the pod although `to_delete` found nothing on the node."""

    def differences(self, wanted: L, side: Side, found: Link) -> Iterator[str]:
        """Sentences that name how `found`, the link of that name on `side`, is not as wanted."""

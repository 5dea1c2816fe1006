"""The functions that `netlink` needs of each kind of link; every other module here has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.netlink.plan import Side
from neutron_cni.netlink.rtnl import Outcome, Request, Rtnl

L = TypeVar("L", contravariant=True)


class LinkKind(Protocol[L]):
    """One kind of link: the functions of a module. `L` is the kind's class in `netlink.plan`.

    Functions that talk to the kernel raise CniError KERNEL.
    """

    def create(
        self, wanted: L, host: Rtnl, pod: Callable[[], Rtnl], namespace: Namespace
    ) -> Outcome:
        """Ask the kernel to make the link: its answer is EEXIST if the name is taken.

        `pod` opens a socket in the pod's `namespace`, which not every kind needs.
        """

    def made_before(self, wanted: L, host: Rtnl, pod: Rtnl, netns: str) -> bool:
        """Whether the link exists, made by an earlier `apply` of this plan.

        `netns` is the path of the pod's namespace, for messages. Raises CniError CONFLICT if a
        link of that name has another owner.
        """

    def bring_up(self, wanted: L, side: Side, index: int) -> Request:
        """The request that brings the link's end on `side` up, with the settings it still lacks."""

    def to_delete(self, wanted: L, host: Rtnl) -> Link | None:
        """The link of the node whose deletion undoes `create`.

        None if there is none, if it has another owner, or if other pods use it too.
        """

    def clear_pod(self, wanted: L, pod: Rtnl) -> None:
        """Remove what the pod has of the link, for when `to_delete` found nothing on the node."""

    def put_back(self, wanted: L, host: Rtnl) -> None:
        """Give a link that the node had before its old settings again, once it is on the node:
        `clear_pod` has brought it there, or the kernel has, when the pod's namespace went."""

    def differences(self, wanted: L, side: Side, found: Link) -> Iterator[str]:
        """Sentences that say how `found`, the link of that name on `side`, is not as wanted."""

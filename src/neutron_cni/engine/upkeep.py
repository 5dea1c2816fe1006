"""What STATUS makes again of what the node does for its pods, where somebody took it away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neutron_cni.netlink import observe
from neutron_cni.netlink.apply import restore
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.restore_proxies import restore_proxies
from neutron_cni.plugins import ownership
from neutron_cni.plugins.contract import Page
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.lease import Lease

_SHARED_SECONDS = 3.0
"""How long STATUS may take to bring the node's packet rules back."""

Note = Callable[[str], None]
Configured = Sequence[tuple[Page, object]]
"""The pages of a plugin type, each with its configuration."""


def bring_back_shared(pages: Configured, note: Note) -> None:
    """Make the packet rules that all pods of the node share, if there are pods and they are gone,
    as after a firewall that was started anew."""
    shared = [item for page, config in pages for item in page.shared(config)]
    if not shared:  # Most types have none, and what follows goes through links and routes.
        return
    parts = {page.PART for page, _ in pages}
    links = observe.links_with_alias(ownership.PREFIX)
    own = {link.index for link in links if _is_part(link.alias, parts)}
    versions = observe.versions_routed_by(own) if own else frozenset()
    wanted = [item for item in shared if item.version in versions]
    if not wanted:
        return
    try:
        if restore(wanted, Deadline.after(_SHARED_SECONDS)):
            note("packet rules that all pods share were missing, and are made anew")
    except CniError as error:
        note(f"packet rules that all pods share can't be made: {error}")


def bring_back_proxies(
    pages: Configured,
    leases: Sequence[Lease],
    facts_for: Callable[[Lease], HostFacts],
    note: Note,
) -> None:
    """Make the entries by which the node answers for pods that have `leases`. Raises CniError."""
    wanted = {
        item: None
        for lease in leases
        for page, config in pages
        for item in page.answers(config, lease, facts_for(lease))
    }
    made = restore_proxies(wanted)
    if made:
        note(
            f"the node no longer answered for {len(made)} of its pods' addresses, and does "
            f"again: {', '.join(map(str, made[:5]))}{', ...' if len(made) > 5 else ''}"
        )


def _is_part(alias: str, parts: set[str]) -> bool:
    owner = ownership.owner(alias)
    return owner is not None and owner.part in parts

"""Any plugin type on the kernel of this machine: adds its pages' plans up, and carries them out.

No page is known here by name. One apply, one undo and one comparison serve all types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Request
from neutron_cni.engine.as_previous import as_answered, as_previous
from neutron_cni.engine.gateway import await_gateway
from neutron_cni.engine.upkeep import bring_back_proxies, bring_back_shared
from neutron_cni.netlink import nic_records, observe
from neutron_cni.netlink.apply import apply
from neutron_cni.netlink.combine import combined
from neutron_cni.netlink.facts import HostFacts, PodFacts
from neutron_cni.netlink.nics import Nic, Place, Selector
from neutron_cni.netlink.plan import Announcement, Dummy, Plan, WantedLink
from neutron_cni.netlink.pod_facts import pod_facts
from neutron_cni.netlink.undo import bring_late_nics_home, remove_stale_entries, undo
from neutron_cni.plugins import ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover, Page
from neutron_cni.plugins.refusals import mac_of_another, nic_for_nobody
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

_ALIAS_BYTES = 254
"""The most bytes in an alias: IFALIASZ (include/uapi/linux/if.h) less the NUL that pyroute2 sends
and the kernel counts, and less the NUL that the kernel adds."""


class Kernel:
    """The `DataPlane` of this machine. `pages` are the parts of the request's plugin type."""

    def __init__(
        self, request: Request, pages: Sequence[Page], note: Callable[[str], None]
    ) -> None:
        self._request = request
        self._pages = pages
        self._note = note
        self.exposed = False
        self.announced: tuple[Announcement, ...] = ()
        self._facts_of: dict[str, HostFacts] = {}
        """By the MAC of a NIC that is not the uplink otherwise."""

    def _expose(self) -> None:
        self.exposed = True

    def inspect(self) -> bool:
        """See `DataPlane`."""
        attachment = self._request.attachment
        plan = self._leftovers(attachment)
        if any(len(_alias(link)) > _ALIAS_BYTES for link in plan.links):
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                "CNI_CONTAINERID: too long, together with the network's name, for a link's alias",
                f"the alias takes {_ALIAS_BYTES} bytes and names both and the interface",
            )
        self._bring_late_nics_home()
        try:
            self._refuse()
            made = self._leftovers(attachment, inside=self._inside)
            return observe.inspect(made, attachment.netns)
        except CniError as error:
            if error.code != Code.INVALID_ENVIRONMENT:
                raise
            # "The error message must contain the names of invalid variables" (SPEC, "Error").
            raise CniError(error.code, f"CNI_NETNS: {error.message}", error.details) from error

    def ready(self) -> None:
        """See `DataPlane`."""
        self._bring_late_nics_home()
        try:
            self._refuse()
        except CniError as error:
            if error.code == Code.TRY_AGAIN:
                # It passes by itself, and runtimes evict a node's pods for a no.
                self._note(str(error))
            else:
                raise CniError(Code.PLUGIN_NOT_AVAILABLE, error.message, error.details) from error
        for remark in self._remarks(self._facts):
            self._note(remark)
        bring_back_shared(self._configured, self._note)

    def bring_back(self, leases: Sequence[Lease]) -> None:
        """See `DataPlane`."""
        bring_back_proxies(self._configured, leases, self._facts_for, self._note)

    def attach(self, lease: Lease, deadline: Deadline) -> Result:
        """See `DataPlane`."""
        self._await_nic(lease, deadline)
        plan = self._plan(lease)
        apply(plan, self._request.attachment.netns, deadline, self._expose)
        self.announced = plan.announcements
        for note in (*plan.notes, *plan.troubles):
            self._note(note)
        result = self._before
        for page, call in self._calls(lease):
            result = page.result(replace(call, before=result))
        return result

    def await_network(self, lease: Lease, deadline: Deadline) -> bool:
        """See `DataPlane`."""
        netns = self._request.attachment.netns
        return await_gateway(lease, self.announced, netns, deadline, self._note)

    def detach(self, lease: Lease | None) -> None:
        """See `DataPlane`."""
        attachment = self._request.attachment
        facts = None
        with suppress(CniError):  # A NIC that is gone has no entries left to remove.
            facts = self._facts_for(lease)
        undo(self._leftovers(attachment, lease, facts), attachment.netns or None)
        # A NIC that was moved is the node's again.
        self.__dict__.pop("_facts", None)
        self._facts_of.clear()
        if lease is None:
            # The link may be gone with its namespace, and its addresses with the store: then
            # `undo` has found no proxy entry.
            remove_stale_entries()
        self._bring_late_nics_home()

    def differences(self, lease: Lease) -> list[str]:
        """See `DataPlane`.

        What changed on the node after ADD is no difference: a shared link that exists only since
        then, or another MTU of the uplink. Nor is what prevResult tells of later plugins of the
        chain: another MAC, further addresses. A node on which the attachment could not be made
        any longer, as its NIC is down or gone, differs in just that.
        """
        from neutron_cni.netlink.diff import diff  # Only CHECK needs it.

        try:
            planned = self._plan(lease)
        except CniError as error:
            if error.code not in (Code.INVALID_CONFIG, Code.CONFLICT):
                raise
            return [error.message]
        plan = as_previous(planned.without_shared_links(), self._request.prev_result)
        for remark in self._remarks(self._facts_for(lease)):
            if remark not in plan.troubles:
                self._note(remark)
        stated = self._request.prev_result.ips if self._request.prev_result else ()
        further = frozenset(item.address.ip for item in stated)
        return [
            *diff(plan, self._request.attachment.netns, further),
            *plan.troubles,
        ]

    def defaults(self) -> frozenset[int]:
        """See `DataPlane`."""
        try:
            return self._inside.defaults
        except CniError as error:
            if error.code != Code.INVALID_ENVIRONMENT:
                raise
            return frozenset()

    def collect(self) -> None:
        """See `DataPlane`. Goes on after a link that can't be removed, and raises at the end."""
        failures = []
        self._bring_late_nics_home()
        parts = {page.PART: page for page in self._pages}
        for alias in self._aliases():
            owner = ownership.owner(alias)
            if owner is None or owner.network != self._request.network or owner.part not in parts:
                continue
            # A veth that an operator attached is there as long as its other end: no runtime knows
            # it, and none is to remove it.
            if owner.attachment not in self._request.valid and not owner.attachment.by_hand:
                try:
                    undo(parts[owner.part].leftovers(Leftover(*owner[:2])), None)
                except CniError as error:
                    failures.append(error)
        try:
            remove_stale_entries()
        except CniError as error:
            failures.append(error)
        if failures:
            raise CniError(failures[0].code, "; ".join(str(error) for error in failures))

    def _aliases(self) -> Iterator[str]:
        """The aliases of the links that GC judges: those of the node, and of its NICs in pods."""
        yield from (link.alias for link in observe.links_with_alias(ownership.PREFIX))
        yield from (record.owner for record in nic_records.list_all())

    def _bring_late_nics_home(self) -> None:
        """Before and after this call's own work: a pod may want a NIC whose own DEL came too early
        for it. What fails is not this call's."""
        if not any(item.moves_nic for item in self._asked):
            return
        try:
            failures = bring_late_nics_home()
        except CniError as error:
            failures = [error]
        for failure in failures:
            self._note(f"a NIC that is late can't be brought home: {failure}")

    def _refuse(self) -> None:
        """Raise CniError for what can be known before there is an address."""
        if self._nic_by_lease and not any(item.moves_nic for item in self._asked):
            raise nic_for_nobody(self._request.plugin)
        if self._nic_by_lease and self._request.mac:
            raise mac_of_another(self._request.mac)
        for page, config in self._configured:
            page.refuse(config, self._facts)

    def _remarks(self, facts: HostFacts) -> Iterator[str]:
        for page, config in self._configured:
            yield from page.remarks(config, facts)

    @cached_property
    def _facts(self) -> HostFacts:
        return self._observed("")

    def _facts_for(self, lease: Lease | None) -> HostFacts:
        """The facts with the NIC whose port has the addresses as the uplink, if no configuration
        names another one, and the pod gets none."""
        if self._nic_by_lease:
            return self._facts
        uplink = self._facts.uplink
        if lease is None or not lease.nic_mac or (uplink and uplink.mac == lease.nic_mac):
            return self._facts
        if lease.nic_mac not in self._facts_of:
            self._facts_of[lease.nic_mac] = self._observed(lease.nic_mac)
        return self._facts_of[lease.nic_mac]

    def _observed(self, nic_mac: str) -> HostFacts:
        asked = self._asked
        first = next((item for item in asked if item.host_interface), Asks())
        own = self._request.own_ipam
        found = observe.host_facts(
            first.host_interface or (own.host_interface if own else None),
            next((item.dummy_name for item in asked if item.dummy_name), ""),
            nic_mac,
            key=first.key,
            ipvlan=any(item.ipvlan for item in asked),
            own_addresses=any(item.addresses for item in asked),
        )
        found = replace(found, nic_by_lease=self._nic_by_lease)
        nic = next((item.nic for item in asked if item.nic), None)
        # At CHECK the NIC is in the pod, and the answer of ADD tells which it is.
        if nic is None or self._request.command not in (Command.ADD, Command.STATUS):
            return found
        return replace(found, nics=self._nics(nic))

    @cached_property
    def _asked(self) -> list[Asks]:
        """What each page asks for."""
        return [page.asks(config) for page, config in self._configured]

    @property
    def _configured(self) -> list[tuple[Page, object]]:
        """Each page with its configuration."""
        return list(zip(self._pages, self._request.configs, strict=True))

    @cached_property
    def _nic_by_lease(self) -> bool:
        """Whether the IPAM of this plugin gets a NIC for each pod."""
        own = self._request.own_ipam
        return own is not None and own.mode is Mode.NOVA_INTERFACE

    def _await_nic(self, lease: Lease, deadline: Deadline) -> None:
        """Wait for the NIC that IPAM got, which Nova attaches before the node sees it come."""
        if self._nic_by_lease:
            from neutron_cni.netlink.link_events import await_nic

            meant = Selector(mac=lease.nic_mac)
            if any(nic.place is Place.OWN and not meant.fits(nic) for nic in self._nics(meant)):
                self.detach(lease)  # That of an earlier lease, which is given back.
            facts = self._facts
            nics = await_nic(meant, lambda: self._nics(meant), deadline)
            self.__dict__["_facts"] = replace(facts, nics=nics)

    def _nics(self, nic: Selector) -> tuple[Nic, ...]:
        from neutron_cni.netlink import nic_facts  # Most plugins move no NIC.

        attachment = self._request.attachment
        own = frozenset(_alias(link) for link in self._leftovers(attachment).links)
        return nic_facts.find(nic, attachment.netns, own)

    @cached_property
    def _inside(self) -> PodFacts:
        request = self._request
        if request.command is Command.CHECK:
            return as_answered(request.prev_result)
        return pod_facts(request.attachment.netns, request.attachment.ifname)

    def _calls(self, lease: Lease) -> Iterator[tuple[Page, Call[object]]]:
        """Each page, and the `Call` that it is given."""
        request, facts = self._request, self._facts_for(lease)
        inside = self._inside
        for page, config in self._configured:
            yield (
                page,
                Call(
                    network=request.network,
                    attachment=request.attachment,
                    config=config,
                    lease=lease,
                    facts=facts,
                    pod=request.pod,
                    mac=request.mac,
                    inside=inside,
                    before=self._before,
                ),
            )

    @property
    def _before(self) -> Result:
        """What the plugins before this one made; of CHECK's prevResult a main plugin's is all."""
        chained = self._request.ipam is None
        return (self._request.prev_result if chained else None) or Result()

    def _plan(self, lease: Lease) -> Plan:
        return combined(*(page.plan(call) for page, call in self._calls(lease)))

    def _leftovers(
        self,
        attachment: Attachment,
        lease: Lease | None = None,
        facts: HostFacts | None = None,
        inside: PodFacts | None = None,
    ) -> Plan:
        request = self._request
        gone = Leftover(request.network, attachment, lease, facts, mac=request.mac, inside=inside)
        return combined(
            *(page.leftovers(replace(gone, config=config)) for page, config in self._configured)
        )


def _alias(link: WantedLink) -> str:
    return "" if isinstance(link, Dummy) else link.alias

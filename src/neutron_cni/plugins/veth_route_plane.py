"""`veth-route` on the kernel of this machine: its plans, carried out by `netlink`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from neutron_cni.cni.request import Request
from neutron_cni.netlink import observe
from neutron_cni.netlink.apply import apply
from neutron_cni.netlink.diff import diff
from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.plan import Plan
from neutron_cni.netlink.undo import remove_stale_proxies, undo
from neutron_cni.plugins import ownership, veth_route
from neutron_cni.plugins.veth_route import VethRouteConfig
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

_ALIAS_BYTES = 254
"""IFALIASZ (include/uapi/linux/if.h) less a NUL, which pyroute2 sends and the kernel counts, and
less one that the kernel adds."""


class VethRoutePlane:
    """See `data_plane.DataPlane`. `note` takes the plan's notes."""

    def __init__(self, request: Request[VethRouteConfig], note: Callable[[str], None]) -> None:
        self._request = request
        self._note = note

    def inspect(self) -> bool:
        """See `DataPlane`."""
        attachment = self._request.attachment
        if len(ownership.alias(self._request.network, attachment)) > _ALIAS_BYTES:
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                "CNI_CONTAINERID: too long, together with the network's name, for a link's alias",
                f"the alias takes {_ALIAS_BYTES} bytes and names both and the interface",
            )
        _ = self._facts  # A wrong hostInterface shows here.
        try:
            return observe.inspect(self._teardown(attachment), attachment.netns)
        except CniError as error:
            if error.code != Code.INVALID_ENVIRONMENT:
                raise
            # "The error message must contain the names of invalid variables" (SPEC, "Error").
            raise CniError(error.code, f"CNI_NETNS: {error.message}", error.details) from error

    def ready(self) -> None:
        """See `DataPlane`."""
        try:
            _ = self._facts
        except CniError as error:
            raise CniError(Code.PLUGIN_NOT_AVAILABLE, error.message, error.details) from error

    def attach(self, lease: Lease) -> Result:
        """See `DataPlane`."""
        plan = self._plan(lease, self._facts)
        apply(plan, self._request.attachment.netns)
        for note in plan.notes:
            self._note(note)
        return veth_route.result(self._request.attachment, lease, self._facts, self._request.config)

    def detach(self, lease: Lease | None) -> None:
        """See `DataPlane`."""
        attachment = self._request.attachment
        facts = None
        with suppress(CniError):  # A NIC that is gone has no entries left to remove.
            facts = self._facts
        undo(self._teardown(attachment, lease, facts), attachment.netns or None)
        if lease is None:
            # The namespace may have taken the link along, and the store may be lost.
            remove_stale_proxies()

    def differences(self, lease: Lease) -> list[str]:
        """See `DataPlane`.

        A pod is not judged by what came after it: a gateway link that there is only now, or an
        uplink whose MTU is another one by now.
        """
        plan = self._plan(lease, replace(self._facts, dummy=False))
        veths = tuple(replace(veth, mtu=self._mtu_of_add()) for veth in plan.veths)
        return diff(replace(plan, veths=veths), self._request.attachment.netns)

    def _mtu_of_add(self) -> int | None:
        """What ADD answered, in versions that have it."""
        previous = self._request.prev_result
        name = self._request.attachment.ifname
        interfaces = previous.interfaces if previous else ()
        return next((i.mtu for i in interfaces if i.name == name and i.sandbox and i.mtu), None)

    def collect(self) -> None:
        """See `DataPlane`. Goes on past a link that can't be removed, and reports it at the end."""
        failures = []
        for link in observe.links_with_alias(ownership.PREFIX):
            owner = ownership.owner(link.alias)
            if owner is None or owner.network != self._request.network:
                continue
            if owner.attachment not in self._request.valid:
                try:
                    undo(self._teardown(owner.attachment), None)
                except CniError as error:
                    failures.append(error)
        try:
            remove_stale_proxies()
        except CniError as error:
            failures.append(error)
        if failures:
            raise CniError(failures[0].code, "; ".join(str(error) for error in failures))

    @cached_property
    def _facts(self) -> HostFacts:
        config, own = self._request.config, self._request.ipam.own
        interface = config.host_interface or (own.host_interface if own else None)
        return observe.host_facts(interface, config.dummy_name)

    def _plan(self, lease: Lease, facts: HostFacts) -> Plan:
        request = self._request
        return veth_route.plan(
            request.attachment, lease, facts, request.config, network=request.network
        )

    def _teardown(
        self, attachment: Attachment, lease: Lease | None = None, facts: HostFacts | None = None
    ) -> Plan:
        return veth_route.teardown(attachment, lease, facts, network=self._request.network)

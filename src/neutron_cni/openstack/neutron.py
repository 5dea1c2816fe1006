"""The calls of Neutron that this project makes, typed. One method, one call (or one and a read).

Source of every behaviour: Networking API v2.0 reference, and Neutron 29 as observed (LAB notes in
ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from neutron_cni.openstack.calls import path
from neutron_cni.openstack.errors import AnswerLost, Forbidden, NoTags, NotFound, Refused
from neutron_cni.openstack.neutron_service import NEUTRON
from neutron_cni.openstack.resources import Resources, filters_in_words
from neutron_cni.openstack.shapes import a_text, an_id, mapping, member, objects, text
from neutron_cni.openstack.types import (
    AddressPair,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Quota,
    Subnet,
)
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

T = TypeVar("T")

MAX_TAG = 60
"""Characters of a tag that every release takes (later ones take 255).

They have to be ASCII without `/` and `,`: others can be added, but not taken off or looked for.
"""
LATER_MAX_TAG = 255
"""What releases take that know `tag-creation`. The API does not tell; some take it without."""
TAG_EXTENSION = "standard-attr-tag"
TAG_POLICIES = (
    "a policy of this cloud forbids this project that; neutron-cni has to tag ports: "
    "create_port:tags, update_port:tags and delete_port:tags"
)
MAX_TAGS_AT_ONCE = 50
"""Neutron refuses a request with more; by several a port may come to have more."""


class Neutron(Resources):
    """One cloud's Networking API, within one deadline."""

    service = NEUTRON

    def by_list(self) -> Neutron:
        """The same, with every port read by the list of those with its id.

        Another URL for a second look: a cache or a broken route does not answer both wrongly alike.
        """
        return _ByList(self._client, self._deadline)

    # Ports

    def port(self, port_id: str) -> Port:
        """The port with that id. Raises NotFound."""
        doing = f"reading port {port_id}"
        raw = self._get(path("ports", port_id), doing)
        return self._understand(doing, lambda: Port.from_json(member(raw, "port")))

    def ports(self, **query: Any) -> list[Port]:
        """Ports that fit the filters of the API (`network_id=`, `mac_address=`, `tags=` ...)."""
        return self._list(
            "ports", f"listing ports by {filters_in_words(query)}", Port.from_json, **query
        )

    def ports_with_address(self, address: IPAddress) -> list[Port]:
        """Ports that have the address; several where networks overlap."""
        return self.ports(fixed_ips=f"ip_address={address}")

    def addresses_in_use(self, network_id: str) -> set[IPAddress]:
        """Every address on the network that this project can see (its owner sees all)."""
        found = self._list(
            "ports",
            f"listing the addresses of network {network_id}",
            FixedIp.list_from,
            network_id=network_id,
            fields=["fixed_ips"],
        )
        return {item.address for fixed_ips in found for item in fixed_ips}

    def floating_ips(self, port_id: str) -> dict[IPAddress, str]:
        """The floating IPs that point at addresses of the port, by these addresses; none in a cloud
        without them."""
        doing = f"listing the floating IPs of port {port_id}"
        fields = ["fixed_ip_address", "floating_ip_address"]
        try:
            found = self._list(
                "floatingips", doing, FloatingIp.from_json, port_id=port_id, fields=fields
            )
        except NotFound:
            return {}
        return {item.points_at: item.address for item in found if item.points_at is not None}

    def create_port(self, attributes: Mapping[str, Any], tags: Sequence[str]) -> Port:
        """A new port, tagged in the same call where the cloud can (tag-creation), then after.

        Raises AnswerLost when it may exist all the same, or exists without its tags: look for its
        `device_id`.
        """
        body = {"port": dict(attributes) | ({"tags": list(tags)} if self._tags_at_create() else {})}
        doing = f"creating port {attributes.get('name')}"
        raw = self._change("POST", "/ports", doing, body)
        port = self._understand(doing, lambda: Port.from_json(member(raw, "port")))
        if not set(tags) <= port.tags:
            try:
                self.add_tags(port.id, tags)
            except CniError as error:
                raise AnswerLost(error.code, error.message, error.details) from error
        return port

    def delete_port(self, port_id: str) -> None:
        """Delete the port; does nothing where it is gone."""
        try:
            self._delete(path("ports", port_id), f"deleting port {port_id}")
        except NotFound:
            return

    def set_fixed_ips(self, port: Port, fixed_ips: Iterable[FixedIp]) -> Port:
        """Replace the port's whole list, if the port is still as we read it (If-Match)."""
        doing = f"changing the addresses of port {port.id}"
        return self._update(port, {"fixed_ips": [item.to_json() for item in fixed_ips]}, doing)

    def set_address_pairs(self, port: Port, pairs: Iterable[AddressPair]) -> Port:
        """Replace the port's whole list, if the port is still as we read it (If-Match)."""
        doing = f"changing the allowed address pairs of port {port.id}"
        return self._update(
            port, {"allowed_address_pairs": [item.to_json() for item in pairs]}, doing
        )

    def add_tags(self, port_id: str, tags: Sequence[str]) -> None:
        """Tags are a set: adding what is there is fine, and no other writer's tag is lost.

        Raises NotFound; NoTags on a cloud without them.
        """
        doing = f"tagging port {port_id}"
        try:
            try:
                self._add_tags(port_id, tags, doing)
            except AnswerLost:
                # Neutron 29 also answers 500, as if the answer were lost, when the port is gone;
                # Neutron 21 does when another writer tags the port at the same moment.
                present = self.port(port_id).tags
                missing = [tag for tag in tags if tag not in present]
                self._add_tags(port_id, missing, doing)
        except Forbidden as error:
            raise Forbidden(error.code, error.message, TAG_POLICIES) from error
        except NotFound:
            self.require_tags()
            raise

    def extensions(self) -> frozenset[str]:
        """Aliases of the cloud's extensions; asked once per process."""
        return self._client.once("extensions", self._extensions)

    def require_tags(self) -> None:
        """Return where ports can be tagged; raises NoTags."""
        if TAG_EXTENSION not in self.extensions():
            raise NoTags(
                Code.INVALID_CONFIG,
                f"this cloud's Neutron can't tag ports: it has no extension {TAG_EXTENSION}",
                "neutron-cni marks by tags what is its own, and can't do without; the cloud's "
                "operator has to enable the extension (service plugin `tag` in older releases)",
            )

    def longest_tag(self) -> int:
        """How many characters a tag may have on this cloud, for sure."""
        return LATER_MAX_TAG if "tag-creation" in self.extensions() else MAX_TAG

    def remove_tag(self, port_id: str, tag: str) -> None:
        """Take the tag off the port; does nothing where tag or port are gone."""
        try:
            self._delete(path("ports", port_id, "tags", tag), f"untagging port {port_id}")
        except NotFound:
            return
        except Forbidden as error:
            raise Forbidden(error.code, error.message, TAG_POLICIES) from error
        except AnswerLost:
            if self._has_tag(port_id, tag):
                raise

    # What ports hang on

    def network(self, name_or_id: str) -> Network:
        """The network with that id, or the only one with that name. Raises NotFound or Refused."""
        return self._one("networks", name_or_id, Network.from_json)

    def subnet(self, name_or_id: str, network_id: str = "") -> Subnet:
        """The subnet with that id, or the only one (of the network) with that name."""
        more = {"network_id": network_id} if network_id else {}
        return self._one("subnets", name_or_id, Subnet.from_json, **more)

    def subnets(self, network_id: str) -> list[Subnet]:
        """All subnets of the network."""
        doing = f"listing the subnets of {network_id}"
        return self._list("subnets", doing, Subnet.from_json, network_id=network_id)

    def security_group_id(self, name_or_id: str) -> str:
        """The id of the group with that id or name. Raises NotFound or Refused."""
        return self._one("security-groups", name_or_id, partial(an_id, key="id"))

    def default_group_id(self, project_id: str) -> str:
        """The id of the group that a new port of the project has. Raises NotFound or Refused."""
        key = partial(an_id, key="id")
        return self._one("security-groups", "default", key, project_id=project_id)

    def port_quota(self, project_id: str) -> Quota | None:
        """The project's ports; None where the cloud does not tell us."""
        doing = "reading the port quota"
        try:
            raw = self._get(path("quotas", project_id, "details.json"), doing)
        except (NotFound, Forbidden, Refused):  # as a rule only admins and managers are told
            return None
        return self._understand(
            doing, lambda: Quota.from_json(member(member(raw, "quota"), "port"))
        )

    def project_id(self) -> str:
        """The project of our credentials, empty where the cloud does not tell."""
        known = self._client.project_id(self._deadline)
        if known:
            return known
        # Without a login (`auth_type: none`) only Neutron knows whom it takes us for.
        doing = "asking for the project of our credentials"
        try:
            raw = self._get("/quotas/project", doing)
        except (NotFound, Forbidden, Refused):
            return ""
        return self._understand(doing, lambda: text(member(raw, "project"), "project_id"))

    # Inside

    def _extensions(self) -> frozenset[str]:
        doing = "reading Neutron's extensions"
        raw = self._get("/extensions", doing, fields="alias")
        return self._understand(doing, partial(_aliases, raw))

    def _add_tags(self, port_id: str, tags: Sequence[str], doing: str) -> None:
        if "tag-creation" not in self.extensions():
            for tag in tags:
                one = self._change("PUT", path("ports", port_id, "tags", tag), doing)
                _expect_tags(doing, one)
            return
        for start in range(0, len(tags), MAX_TAGS_AT_ONCE):
            some = list(tags[start : start + MAX_TAGS_AT_ONCE])
            answer = self._change("POST", path("ports", port_id, "tags"), doing, {"tags": some})
            _expect_tags(doing, answer)

    def _has_tag(self, port_id: str, tag: str) -> bool:
        try:
            return tag in self.port(port_id).tags
        except NotFound:
            return False

    def _update(self, port: Port, attributes: dict[str, Any], doing: str) -> Port:
        raw = self._change(
            "PUT", path("ports", port.id), doing, {"port": attributes}, revision=port.revision
        )
        return self._understand(doing, lambda: Port.from_json(member(raw, "port")))

    def _tags_at_create(self) -> bool:
        return "tag-ports-during-bulk-creation" in self.extensions()


class _ByList(Neutron):
    """See `Neutron.by_list`."""

    def port(self, port_id: str) -> Port:
        """See `Neutron.port`."""
        found = [port for port in self.ports(id=port_id) if port.id == port_id]
        if not found:
            raise NotFound(Code.NOT_FOUND, f"no port in the list has the id {port_id}", "")
        return found[0]


def _aliases(raw: object) -> frozenset[str]:
    listed = objects(mapping(raw, "it"), "extensions")
    return frozenset(a_text(item.get("alias"), "alias") for item in listed)


def _expect_tags(doing: str, raw: object) -> None:
    """After adding tags: `null` for one, `{"tags": [...]}` for several."""
    if raw is not None and not (isinstance(raw, dict) and "tags" in raw):
        raise NEUTRON.foreign(doing, "JSON of another shape")

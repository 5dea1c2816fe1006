"""The tables of one cloud in memory, and what every kind of object in them has in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

from tests.fakes.refusals import Refusal, not_found

Json = dict[str, Any]

DEFAULT_PROJECT = "5" * 32
"""The project of objects that are made without one (a real cloud takes it from the token)."""
PORT_QUOTA = 500
MAX_ADDRESS_PAIRS = 10

KINDS = {
    "networks": "Network",
    "subnets": "Subnet",
    "ports": "Port",
    "security-groups": "SecurityGroup",
    "routers": "Router",
    "floatingips": "FloatingIP",
}
"""Collections by their path, and the type that their refusals carry."""

EXTENSIONS = (
    "address-scope",
    "allowed-address-pairs",
    "binding",
    "external-net",
    "extraroute",
    "extraroute-atomic",
    "filter-validation",
    "floating-ip-port-forwarding",
    "ip-substring-filtering",
    "net-mtu",
    "pagination",
    "port-security",
    "project-id",
    "quota_details",
    "quotas",
    "revision-if-match",
    "router",
    "security-group",
    "sorting",
    "standard-attr-description",
    "standard-attr-revisions",
    "standard-attr-tag",
    "standard-attr-timestamp",
    "tag-creation",
    "trunk",
)
"""Those of the lab's Neutron that matter here; `cloud.extensions` may be changed by a test."""


class Overlap:
    """Makes the next PUTs of ports overlap: each looks, all wait, then each changes.

    Real Neutron reads the port before it changes it, in a transaction that does not lock the row,
    so of PUTs that overlap every one is applied as a difference against what it saw.
    """

    def __init__(self) -> None:
        self._wanted = 0
        self._arrived = 0
        self.met = False
        """Whether all that were expected have waited for one another, and none in vain."""
        self._condition = threading.Condition()

    def expect(self, number: int) -> None:
        """The next `number` PUTs wait for one another between their look and their change."""
        with self._condition:
            self._wanted, self._arrived, self.met = number, 0, False

    def wait(self, seconds: float = 25.0) -> None:
        """Called by a PUT that has looked; returns when all that are expected have."""
        with self._condition:
            if self._arrived >= self._wanted:
                return
            self._arrived += 1
            self._condition.notify_all()
            everyone = self._wanted
            self.met = self._condition.wait_for(lambda: self._arrived >= everyone, seconds)


class Cloud:
    """All objects by collection and id, the addresses in use by subnet, and the quotas."""

    def __init__(self, seed: int = 0) -> None:
        self.lock = threading.RLock()
        self.tables: dict[str, dict[str, Json]] = {name: {} for name in KINDS}
        self.servers: dict[str, Any] = {}
        """`nova.FakeServer` by id."""
        self.later: list[Callable[[], None]] = []
        """What Nova has accepted and not done yet; whoever calls it takes it off."""
        self.in_use: dict[str, dict[str, str]] = {}
        """Addresses by subnet id: which port has them."""
        self.port_quota: dict[str, int] = {}
        self.extensions = set(EXTENSIONS)
        self.hidden: set[str] = set()
        """Ids that exist but this project can't see."""
        self.max_fixed_ips: int | None = None
        """How many fixed IPs a port may have in releases that limit them."""
        self.guards_floating_ips = True
        """Whether an address that a floating IP points at can't be taken off a port. Neutron 21
        lets it go, and the floating IP goes on pointing there."""
        self.is_old = False
        """Set by `be_neutron_21`."""
        self.counts_all_tags = False
        """Whether a POST of tags is refused for those that are there too, as a PUT is."""
        self.unshown: set[str] = set()
        """Attributes that a policy hides from this project."""
        self.max_page: int | None = None
        """`pagination_max_limit`: None for unlimited, as Neutron's default is."""
        self.overlap = Overlap()
        self.random = Random(seed)
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def be_neutron_21(self) -> None:
        """Be an old one in all that `tests.contract.differences` lists of it."""
        self.is_old = True
        self.guards_floating_ips = False
        self.extensions.discard("tag-creation")

    @property
    def ports(self) -> dict[str, Json]:
        """Ports by id, as the API shows them; a test may change them directly."""
        return self.tables["ports"]

    def find(self, collection: str, name: str) -> Json:
        """The object itself, not a copy. Raises Refusal 404."""
        item = self.tables[collection].get(name)
        if item is None or name in self.hidden:
            raise not_found(KINDS[collection], name)
        return item

    def add(self, collection: str, attributes: Json, revision: int = 0) -> Json:
        """A new object with id, project, times, tags and revision."""
        project = attributes.get("project_id") or attributes.get("tenant_id") or DEFAULT_PROJECT
        now = self._now()
        item = {
            **attributes,
            "id": str(UUID(int=self.random.getrandbits(128), version=4)),
            "project_id": project,
            "tenant_id": project,
            "tags": sorted(attributes.get("tags") or ()),
            "created_at": now,
            "updated_at": now,
            "revision_number": revision,
        }
        self.tables[collection][item["id"]] = item
        return item

    def remove(self, collection: str, name: str) -> None:
        """Raises Refusal 404."""
        self.find(collection, name)
        del self.tables[collection][name]

    def bump(self, item: Json) -> None:
        """The object was changed: next revision."""
        item["revision_number"] += 1
        item["updated_at"] = self._now()

    def rival_edit(self, port_id: str) -> None:
        """Somebody else changes the port's description."""
        with self.lock:
            port = self.tables["ports"].get(port_id)
            if port is not None:
                port["description"] = f"rival {port['revision_number']}"
                self.bump(port)

    def default_security_group(self, project: str) -> str:
        """Id of the project's group `default`, made on first use as Neutron makes it."""
        groups = self.tables["security-groups"].values()
        for group in groups:
            if group["name"] == "default" and group["project_id"] == project:
                return str(group["id"])
        return str(self.add("security-groups", security_group("default", project))["id"])

    def require_quota(self, project: str, more: int) -> None:
        """Raises Refusal 409 OverQuota when `more` ports do not fit."""
        limit, used = self.ports_quota(project)
        if 0 <= limit < used + more:
            raise Refusal(409, "OverQuota", "Quota exceeded for resources: ['port'].")

    def ports_quota(self, project: str) -> tuple[int, int]:
        """Limit (-1: none) and use."""
        used = sum(port["project_id"] == project for port in self.ports.values())
        return self.port_quota.get(project, PORT_QUOTA), used

    def _now(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def security_group(name: str, project: str) -> Json:
    """Attributes of a group without its rules, which nothing here looks at."""
    return {
        "name": name,
        "project_id": project,
        "description": "",
        "stateful": True,
        "shared": False,
        "security_group_rules": [],
    }
